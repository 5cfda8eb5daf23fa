// Log-likelihoods of what is there or not, value and gradient; the equations stand in kernels/bernoulli.py.
//
// With q = q_cell q_region, p = q sigmoid(l) and 1 - p = (1 - q) + q sigmoid(-l), a sum without cancellation.

struct Bernoulli {
  int64_t m, g;
  bool gradient;
  const int64_t *indptr, *indices;     // (m + 1,) may begin beyond zero; (nnz,)
  const float *logits;                 // (m, g)
  const float *log_cell, *log_region;  // (m,) and (g,), at most zero; or null
  float *value;                        // (m,)
  float *pull;                         // (m, g) by the logits, may be `logits` itself
  float *cell_gradient;                // (m,)
  float *region_gradient;              // (m, g)
  float *region, *absent;              // (g,) q_region and 1 - q_region
};

// What is computed of LANES regions.
struct Chance {
  vf present, absent;                  // log p and log(1 - p)
  vf closed, odds;                     // sigmoid(-l) and p / (1 - p)
  vf pull;                             // odds sigmoid(-l)
};

// cell = q_cell, cell_absent = 1 - q_cell; log_q is the logarithm of their product. Without factors, q = 1.
template <bool FACTORS>
LATOME_INLINE Chance chance(vf logit, vf cell, vf cell_absent, vf region, vf region_absent, vf log_q) {
  Chance c;
  const vf one = set(1.0f), zero = set(0.0f);
  vf e = exp_of_negative(-absolute(logit)), inverse = one / (one + e), log_more = log1p_of(e);
  vf open = sigmoid_from(logit, e, inverse);
  c.closed = sigmoid_from(-logit, e, inverse);
  c.present = log_q - log_more - (logit < zero ? -logit : zero);
  if (!FACTORS) {
    c.absent = -log_more - (logit > zero ? logit : zero);
    c.odds = zero, c.pull = open;
    return c;
  }
  vf q = cell * region, p = q * open, rest = (cell_absent + cell * region_absent) + q * c.closed;
  vf bounded = larger(set(TINY), rest);
  vi k = log_power(bounded);
  vf scale = power_of_two(-k);         // log(rest), as log(1 - p) where p is small
  vf f = p < set(0.5f) ? (scale - one) - p * scale : bounded * scale - one;
  c.absent = log_of_parts(k, f) + (rest - rest);
  c.odds = p / bounded;
  c.pull = c.odds * c.closed;
  return c;
}

// `count` regions from j on as absent; sums[0] the log-probability, sums[1] d/dlog q.
template <bool FACTORS>
LATOME_INLINE void absent_regions(const Bernoulli &b, int64_t n, int64_t j, int64_t count, vf cell, vf cell_absent,
                                  vf *sums) {
  const int64_t at = n * b.g + j;
  vf region = load_part(b.region + j, count, 0.0f), region_absent = load_part(b.absent + j, count, 1.0f);
  vf logit = load_part(b.logits + at, count, -1e30f);                   // certainly absent: adds nothing
  Chance c = chance<FACTORS>(logit, cell, cell_absent, region, region_absent, set(0.0f));
  sums[0] += c.absent;
  if (!b.gradient) return;
  sums[1] -= c.odds;
  store_part(b.pull + at, -c.pull, count);
  if (b.region_gradient) store_part(b.region_gradient + at, -c.odds, count);
}

// What the regions that are there change; their gradients go to `pulls` until the rest is done.
template <bool FACTORS>
static double present_regions(const Bernoulli &b, int64_t n, float cell, float cell_absent, float *pulls,
                              double *slopes) {
  const int64_t first = b.indptr[n] - b.indptr[0], n_entries = b.indptr[n + 1] - b.indptr[n];
  const int64_t *regions = b.indices + first;
  double total = 0.0;
  *slopes = 0.0;
  for (int64_t k = 0; k < n_entries; k += LANES) {
    const int64_t count = n_entries - k < LANES ? n_entries - k : LANES;
    float logits[LANES], q[LANES], absent[LANES], log_q[LANES], changes[LANES], odds[LANES];
    for (int i = 0; i < LANES; i++) {
      const int64_t j = regions[k + (i < count ? i : 0)];
      logits[i] = b.logits[n * b.g + j], q[i] = b.region[j], absent[i] = b.absent[j];
      log_q[i] = (b.log_cell ? b.log_cell[n] : 0.0f) + (b.log_region ? b.log_region[j] : 0.0f);
    }
    Chance c = chance<FACTORS>(load(logits), set(cell), set(cell_absent), load(q), load(absent), load(log_q));
    store(changes, c.present - c.absent);
    store(odds, c.odds);
    store_part(pulls + k, c.closed, count);
    for (int64_t i = 0; i < count; i++) total += changes[i], *slopes += 1.0 + (double)odds[i];
  }
  return total;
}

template <bool FACTORS>
static void bernoulli_cell(const Bernoulli &b, int64_t n, float *pulls) {
  const double log_cell = b.log_cell ? b.log_cell[n] : 0.0;
  const float cell = (float)exp(log_cell), cell_absent = (float)-expm1(log_cell);
  double slopes, value = present_regions<FACTORS>(b, n, cell, cell_absent, pulls, &slopes);
  for (int64_t start = 0; start < b.g; start += BLOCK) {
    const int64_t stop = start + BLOCK < b.g ? start + BLOCK : b.g;
    vf sums[2] = {set(0.0f), set(0.0f)};
    LATOME_TILE(absent_regions<FACTORS>(b, n, j, count, set(cell), set(cell_absent), sums))
    value += (double)sum_of(sums[0]);
    slopes += (double)sum_of(sums[1]);
  }
  b.value[n] = (float)value;
  if (!b.gradient) return;
  if (b.cell_gradient) b.cell_gradient[n] = (float)slopes;
  const int64_t first = b.indptr[n] - b.indptr[0], n_entries = b.indptr[n + 1] - b.indptr[n];
  for (int64_t k = 0; k < n_entries; k++) {
    const int64_t at = n * b.g + b.indices[first + k];
    b.pull[at] = pulls[k];
    if (b.region_gradient) b.region_gradient[at] = 1.0f;
  }
}

static void bernoulli_cells(void *context, int64_t begin, int64_t end) {
  const Bernoulli &b = *static_cast<Bernoulli *>(context);
  float *pulls = (float *)malloc(sizeof(float) * (longest_row(b.indptr, begin, end, b.m, b.g) + LANES));
  for (int64_t n = begin; n < end; n++) {
    if (!pulls)
      b.value[n] = __builtin_nanf("");
    else if (b.log_cell || b.log_region)
      bernoulli_cell<true>(b, n, pulls);
    else
      bernoulli_cell<false>(b, n, pulls);
  }
  free(pulls);
}

static void bernoulli(Bernoulli &b, int threads) {
  float *memory = (float *)malloc(sizeof(float) * 2 * (b.g + LANES));
  if (!memory) {
    for (int64_t n = 0; n < b.m; n++) b.value[n] = __builtin_nanf("");
    return;
  }
  b.region = memory, b.absent = memory + b.g + LANES;
  for (int64_t j = 0; j < b.g; j++) {
    const double log_region = b.log_region ? b.log_region[j] : 0.0;
    b.region[j] = log_region == 0.0 ? 1.0f : (float)exp(log_region);
    b.absent[j] = log_region == 0.0 ? 0.0f : (float)-expm1(log_region);
  }
  latome_parallel(bernoulli_cells, &b, b.m, threads);
  free(memory);
}
