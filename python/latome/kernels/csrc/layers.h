// Layers: a sparse minibatch times a matrix, and what follows a linear layer (tables, batch norm, ReLU, dropout).
//
// Sizes: m cells, g genes, h hidden units. Matrices lie row by row; weights of a sparse product as (g, h), one row a
// gene. Work is cut by columns of one cache line, so that no two threads write to the same place.

#define STRIP 16                       /* columns of a cache line of floats */
#define UNROLL _Pragma("GCC unroll 8") /* keeps small arrays of vectors in registers */

typedef uint32_t vu __attribute__((vector_size(4 * LANES)));

// The first `count` of LANES values; the rest are zeros, or stay as they are.
LATOME_INLINE vf load_some(const float *from, int count) {
  if (count == LANES) return load(from);
  float x[LANES] = {};
  for (int j = 0; j < count; j++) x[j] = from[j];
  return load(x);
}

LATOME_INLINE void store_some(float *to, int count, vf x) {
  if (count == LANES) {
    store(to, x);
    return;
  }
  float from[LANES];
  store(from, x);
  for (int j = 0; j < count; j++) to[j] = from[j];
}

// The sum of a gene's rows for one cell: out[c..] = bias + sum over entries of x W[gene, c..], K vectors wide.
#define LATOME_SPARSE_ROW(K)                                                                      \
  for (; c + (K) * LANES <= h; c += (K) * LANES) {                                                \
    vf sum[K];                                                                                    \
    UNROLL for (int j = 0; j < (K); j++) sum[j] = bias ? load(bias + c + j * LANES) : set(0.0f);       \
    for (int64_t e = from; e < to; e++) {                                                         \
      const float *row = weight + indices[e] * h + c;                                             \
      vf x = set(values[e]);                                                                    \
      UNROLL for (int j = 0; j < (K); j++) sum[j] += x * load(row + j * LANES);                          \
    }                                                                                             \
    UNROLL for (int j = 0; j < (K); j++) store(out + c + j * LANES, sum[j]);                             \
  }

struct SparseProduct {
  int64_t m, g, h;
  const int64_t *indptr, *indices;
  const float *values, *weight, *bias;
  float *out;
};

// out (m, h) = x W + bias for rows begin to end of a sparse x (m, g).
static void sparse_product_rows(void *context, int64_t begin, int64_t end) {
  const SparseProduct &p = *static_cast<SparseProduct *>(context);
  const int64_t h = p.h, *indices = p.indices;
  const float *values = p.values, *weight = p.weight, *bias = p.bias;
  for (int64_t n = begin; n < end; n++) {
    float *out = p.out + n * h;
    const int64_t from = p.indptr[n] - p.indptr[0], to = p.indptr[n + 1] - p.indptr[0];
    int64_t c = 0;
    LATOME_SPARSE_ROW(8)
    LATOME_SPARSE_ROW(1)
    for (; c < h; c++) {
      float sum = bias ? bias[c] : 0.0f;
      for (int64_t e = from; e < to; e++) sum += values[e] * weight[indices[e] * h + c];
      out[c] = sum;
    }
  }
}

static void sparse_product(int64_t m, int64_t g, int64_t h, const int64_t *indptr, const int64_t *indices,
                           const float *values, const float *weight, const float *bias, float *out, int threads) {
  SparseProduct work{m, g, h, indptr, indices, values, weight, bias, out};
  latome_parallel(sparse_product_rows, &work, m, threads);
}

struct SparseGradient {
  int64_t m, g, h;
  const int64_t *indptr, *indices;
  const float *values, *upstream;
  float *out;
};

// out (g, h) = x^T upstream (m, h), for genes begin to end.
static void sparse_gradient_genes(void *context, int64_t begin, int64_t end) {
  const SparseGradient &p = *static_cast<SparseGradient *>(context);
  const int64_t h = p.h, *indices = p.indices;
  memset(p.out + begin * h, 0, sizeof(float) * h * (end - begin));
  for (int64_t n = 0; n < p.m; n++) {
    const int64_t from = p.indptr[n] - p.indptr[0], to = p.indptr[n + 1] - p.indptr[0];
    const float *upstream = p.upstream + n * h;
    int64_t c = 0;
    for (; c + 4 * LANES <= h; c += 4 * LANES) {
      vf pull[4];
      UNROLL for (int j = 0; j < 4; j++) pull[j] = load(upstream + c + j * LANES);
      for (int64_t e = from; e < to; e++) {
        if (indices[e] < begin || indices[e] >= end) continue;
        float *row = p.out + indices[e] * h + c;
        vf x = set(p.values[e]);
        UNROLL for (int j = 0; j < 4; j++) store(row + j * LANES, load(row + j * LANES) + x * pull[j]);
      }
    }
    for (; c < h; c++)
      for (int64_t e = from; e < to; e++)
        if (indices[e] >= begin && indices[e] < end) p.out[indices[e] * h + c] += p.values[e] * upstream[c];
  }
}

static void sparse_gradient(int64_t m, int64_t g, int64_t h, const int64_t *indptr, const int64_t *indices,
                            const float *values, const float *upstream, float *out, int threads) {
  SparseGradient work{m, g, h, indptr, indices, values, upstream, out};
  latome_parallel(sparse_gradient_genes, &work, g, threads);
}

// What follows a linear layer: out = dropout(relu(norm(y + tables))).
//
// norm: 0 none, 1 batch norm by the minibatch, 2 by running moments. `hat` receives the normalised values, which may
// be y itself; a unit is dropped where its random number, of `seed` and its place, is not below `keep`.
struct Block {
  int64_t m, h;
  float *y, *hat, *out;
  int64_t n_tables;
  const float *const *tables;          // each (categories, h)
  const int64_t *const *codes;         // each (m,), of stride code_stride
  int64_t code_stride;
  int64_t norm;
  const float *scale, *shift;
  float *running_mean, *running_variance;
  int64_t *count;                      // minibatches that these have seen
  float *inverse_sd;
  float momentum, eps, keep;
  int64_t seed;
};

LATOME_INLINE vu scrambled(vu x, uint32_t salt) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= salt;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

// 1 / keep where a unit stays, 0 where it is dropped: for LANES places from `place` on.
LATOME_INLINE vf kept(uint64_t seed, int64_t place, float keep) {
  uint32_t places[LANES];
  for (int j = 0; j < LANES; j++) places[j] = (uint32_t)place + (uint32_t)j;
  vu x;
  memcpy(&x, places, sizeof x);
  x ^= (uint32_t)seed;
  x = scrambled(x, (uint32_t)(seed >> 32) ^ (uint32_t)(place >> 32));
  vf uniform = __builtin_convertvector((vi)(x >> 8), vf) * set(1.0f / 16777216.0f);
  return uniform < set(keep) ? set(1.0f / keep) : set(0.0f);
}

LATOME_INLINE void block_moments(const Block &b, int64_t c, int count, vf *mean, vf *inverse) {
  const int64_t m = b.m, h = b.h;
  vf sum = set(0.0f);
  for (int64_t n0 = 0; n0 < m; n0 += 64) {             // sums of sums: a float keeps its digits
    vf part = set(0.0f);
    for (int64_t n = n0; n < m && n < n0 + 64; n++) part += load_some(b.hat + n * h + c, count);
    sum += part;
  }
  *mean = sum * set(1.0f / (float)m);
  vf squares = set(0.0f);
  for (int64_t n0 = 0; n0 < m; n0 += 64) {
    vf part = set(0.0f);
    for (int64_t n = n0; n < m && n < n0 + 64; n++) {
      vf away = load_some(b.hat + n * h + c, count) - *mean;
      part += away * away;
    }
    squares += part;
  }
  vf variance = squares * set(1.0f / (float)m);
  float scratch[LANES];
  store(scratch, variance);
  for (int j = 0; j < LANES; j++) scratch[j] = 1.0f / sqrtf(scratch[j] + b.eps);
  *inverse = load(scratch);
  vf unbiased = variance * set((float)m / (float)(m > 1 ? m - 1 : 1));
  vf momentum = set(b.momentum), rest = set(1.0f - b.momentum);
  store_some(b.running_mean + c, count, rest * load_some(b.running_mean + c, count) + momentum * *mean);
  store_some(b.running_variance + c, count, rest * load_some(b.running_variance + c, count) + momentum * unbiased);
}

LATOME_INLINE void block_column(const Block &b, int64_t c, int count) {
  const int64_t m = b.m, h = b.h;
  vf mean = set(0.0f), inverse = set(1.0f), scale = set(1.0f), shift = set(0.0f);
  for (int64_t n = 0; n < m; n++) {
    vf y = load_some(b.y + n * h + c, count);
    for (int64_t t = 0; t < b.n_tables; t++)
      y += load_some(b.tables[t] + b.codes[t][n * b.code_stride] * h + c, count);
    store_some(b.hat + n * h + c, count, y);
  }
  if (b.norm == 1) block_moments(b, c, count, &mean, &inverse);
  if (b.norm == 2) {
    mean = load_some(b.running_mean + c, count);
    float scratch[LANES];
    store(scratch, load_some(b.running_variance + c, count));
    for (int j = 0; j < LANES; j++) scratch[j] = 1.0f / sqrtf(scratch[j] + b.eps);
    inverse = load(scratch);
  }
  if (b.norm) {
    store_some(b.inverse_sd + c, count, inverse);
    scale = load_some(b.scale + c, count);
    shift = load_some(b.shift + c, count);
  }
  for (int64_t n = 0; n < m; n++) {
    vf hat = (load_some(b.hat + n * h + c, count) - mean) * inverse;
    if (b.norm) store_some(b.hat + n * h + c, count, hat);
    vf z = scale * hat + shift;
    z = z <= set(0.0f) ? set(0.0f) : z;            // a NaN stays one
    if (b.keep < 1.0f) z *= kept((uint64_t)b.seed, n * h + c, b.keep);
    store_some(b.out + n * h + c, count, z);
  }
}

// Columns in vectors, the last one of a few.
#define LATOME_COLUMNS(body, work)                                                     \
  const int64_t last = end * STRIP < (work).h ? end * STRIP : (work).h;                \
  int64_t c = begin * STRIP;                                                           \
  for (; c + LANES <= last; c += LANES) body(work, c, LANES);                          \
  if (c < last) body(work, c, (int)(last - c));

static void block_strips(void *context, int64_t begin, int64_t end) {
  const Block &b = *static_cast<Block *>(context);
  LATOME_COLUMNS(block_column, b)
}

static void block_forward(Block &b, int threads) {
  if (b.norm == 1) ++*b.count;
  latome_parallel(block_strips, &b, (b.h + STRIP - 1) / STRIP, threads);
}

// Backward: `pull` receives the gradient of y, which is also that of each row's table entries.
struct BlockGradient {
  int64_t m, h;
  const float *upstream, *hat, *out;
  float *pull;
  int64_t n_tables;
  float *const *tables;                // zeroed; each (categories, h)
  const int64_t *const *codes;
  int64_t code_stride;
  int64_t norm;
  const float *scale, *inverse_sd;
  float *bias, *scale_gradient, *shift_gradient;
  float keep;
};

LATOME_INLINE void block_gradient_column(const BlockGradient &b, int64_t c, int count) {
  const int64_t m = b.m, h = b.h;
  const vf more = set(1.0f / b.keep), zero = set(0.0f);
  vf sum = zero, product = zero;
  for (int64_t n0 = 0; n0 < m; n0 += 64) {
    vf part = zero, part_product = zero;
    for (int64_t n = n0; n < m && n < n0 + 64; n++) {
      vf z = load_some(b.out + n * h + c, count) > zero ? load_some(b.upstream + n * h + c, count) * more : zero;
      part += z;
      if (b.norm) part_product += z * load_some(b.hat + n * h + c, count);
      store_some(b.pull + n * h + c, count, z);
    }
    sum += part;
    product += part_product;
  }
  vf factor = set(1.0f), mean = zero, slope = zero;
  if (b.norm) {
    store_some(b.shift_gradient + c, count, sum);
    store_some(b.scale_gradient + c, count, product);
    factor = load_some(b.scale + c, count) * load_some(b.inverse_sd + c, count);
  }
  if (b.norm == 1) {
    mean = sum * set(1.0f / (float)m);
    slope = product * set(1.0f / (float)m);
  }
  vf bias = zero;
  for (int64_t n = 0; n < m; n++) {
    vf pull = load_some(b.pull + n * h + c, count);
    if (b.norm) {
      pull = factor * (pull - mean - load_some(b.hat + n * h + c, count) * slope);
      store_some(b.pull + n * h + c, count, pull);
    }
    bias += pull;
    for (int64_t t = 0; t < b.n_tables; t++) {
      float *row = b.tables[t] + b.codes[t][n * b.code_stride] * h + c;
      store_some(row, count, load_some(row, count) + pull);
    }
  }
  store_some(b.bias + c, count, bias);
}

static void block_gradient_strips(void *context, int64_t begin, int64_t end) {
  const BlockGradient &b = *static_cast<BlockGradient *>(context);
  LATOME_COLUMNS(block_gradient_column, b)
}

static void block_backward(BlockGradient &b, int threads) {
  latome_parallel(block_gradient_strips, &b, (b.h + STRIP - 1) / STRIP, threads);
}

#undef STRIP
#undef UNROLL
#undef LATOME_SPARSE_ROW
#undef LATOME_COLUMNS
