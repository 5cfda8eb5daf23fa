// Log-likelihoods of counts, value and gradient; the equations stand in kernels/counts.py.
//
// A cell is treated as if all its counts were zero, in vectors of genes and in closed form; before that, what its
// entries change is computed in vectors of entries. Counts of 1 to 4 need products of theta + i only; others take
// gamma functions, in double.

#include "wide.h"
#include "negative_binomial.h"

#define BLOCK 1024                     /* genes whose terms floats add up; sums of blocks are doubles */
#define TILE 512                       /* genes that go through the steps of a zero together */
#define GROUP 8                        /* cells whose gradients of theta are summed together */

struct Counts {
  int64_t m, g, kind;
  bool gradient;
  const int64_t *indptr, *indices;     // (m + 1,) may begin beyond zero; (nnz,)
  const float *values;                 // (nnz,)
  const float *location;               // (m, g): logits, or the logarithm of the mean where there is
  const float *log_library;            // (m,) none of this
  const float *log_theta;              // (g,), (rows, g) or (m, g)
  int64_t theta_form;                  // 0: one for all cells, 1: by row, 2: (m, g)
  const int64_t *theta_rows;           // (m,) the row of each cell
  const float *gate;                   // (m, g)
  float *value;                        // (m,)
  float *pull, *library;               // gradients: (m, g), may be `location` itself; (m,)
  float *theta_gradient;               // (m, g), or null and
  float *theta_sum;                    // (g,), the sum over cells
  float *gate_gradient;                // (m, g), may be `gate` itself
  float *theta, *inverse;              // (g,) theta and 1 / (theta + eps), where they are those of all cells
  float *theta_parts;                  // (groups, g) sums over the cells of a group
  int64_t group;                       // cells that are worked through together
};

// What one cell works with: g floats each, `listed` g places.
struct Row {
  float *e, *theta, *inverse, *entry_pull, *entry_theta, *entry_gate;
  int32_t *listed;
};

// ---- the means of one cell -----------------------------------------------------------------------------------------

// Sets row.e and returns what makes it the mean, mu = e scale; `share` makes it the softmax.
static float cell_means(const Counts &c, const Row &row, int64_t n, float *share) {
  const float *location = c.location + n * c.g;
  float largest = 0.0f;
  if (c.log_library) {
    vf most = set(-__builtin_inff());
    for (int64_t j = 0; j < c.g; j += LANES) most = larger(load_part(location + j, c.g - j, -__builtin_inff()), most);
    largest = largest_of(most);
  }
  double total = 0.0;
  for (int64_t start = 0; start < c.g; start += BLOCK) {
    const int64_t stop = start + BLOCK < c.g ? start + BLOCK : c.g;
    vf sum = set(0.0f);
    for (int64_t j = start; j < stop; j += LANES) {
      vf x = load_part(location + j, stop - j, -__builtin_inff());
      vf e = c.log_library ? exp_of_negative(x - set(largest)) : exp_of(x);
      store_part(row.e + j, e, stop - j);
      sum += e;
    }
    total += (double)sum_of(sum);
  }
  *share = (float)(1.0 / total);
  return c.log_library ? (float)(exp((double)c.log_library[n]) / total) : 1.0f + (float)(0.0 * total);
}

LATOME_INLINE void theta_of(const float *log_theta, int64_t begin, int64_t end, float *theta, float *inverse) {
  for (int64_t j = begin; j < end; j += LANES) {
    vf t = exp_of(load_part(log_theta + j, end - j, 0.0f));
    store_part(theta + j, t, end - j);
    store_part(inverse + j, set(1.0f) / (t + set(EPS)), end - j);
  }
}

// ---- the entries of one cell ---------------------------------------------------------------------------------------

// What a cell is computed from.
struct Cell {
  float scale;                         // mu = e scale
  const float *e, *theta, *inverse, *gate;
  int64_t n_entries;
  const int64_t *genes;
  const float *counts;
};

// What `count` entries from k on change of the log-probability; the rest of that of large and fractional counts, which
// are listed, is left to `listed_change`.
template <int KIND, bool GRADIENT>
LATOME_INLINE vf entries_change(const Cell &cell, const Row &row, int64_t k, int64_t count, int64_t *n_listed) {
  float xs[LANES], es[LANES], thetas[LANES], inverses[LANES], gates[LANES];
  for (int i = 0; i < LANES; i++) xs[i] = es[i] = gates[i] = 0.0f, thetas[i] = inverses[i] = 1.0f;
  for (int i = 0; i < count; i++) {
    const int64_t gene = cell.genes[k + i];
    const float x = cell.counts[k + i];
    xs[i] = x;
    es[i] = cell.e[gene];
    if (KIND != POISSON) thetas[i] = cell.theta[gene], inverses[i] = cell.inverse[gene];
    if (KIND == ZINB) gates[i] = cell.gate[gene];
    row.listed[*n_listed] = (int32_t)(k + i);
    *n_listed += !(x == 1.0f || x == 2.0f || x == 3.0f || x == 4.0f);
  }
  const vf none = set(0.0f), x = load(xs), mu = load(es) * set(cell.scale);
  const vi few = (x == set(1.0f)) | (x == set(2.0f)) | (x == set(3.0f)) | (x == set(4.0f));
  if (KIND == POISSON) {
    if (GRADIENT) store(row.entry_pull + k, x - mu);
    vf change = x * log_of(larger(mu, set(TINY))) - few_log_factorials(x);
    return few ? change : none;
  }
  const vf theta = load(thetas), inverse = load(inverses), gate = load(gates), more = mu + set(EPS);
  const Zero zero = at_zero<KIND, GRADIENT>(mu, theta, inverse, gate);
  vf slope, gammas = few_gammas(x, theta, inverse, &slope);
  vf change = x * (log_of(more) - log1p_of(mu * inverse)) + gammas;
  change = few ? change : none;
  if (KIND == ZINB) change += first_lanes(count) ? zero.nb - zero.log_p - softplus_of(gate) : none;
  if (GRADIENT) {
    store(row.entry_pull + k, theta * zero.odds * (x / more - set(1.0f)));
    vf within = x * more / (more + theta) - slope;
    within = few ? within : none;
    store(row.entry_theta + k, KIND == ZINB ? within + zero.slope * (set(1.0f) - zero.share) : within);
    if (KIND == ZINB) store(row.entry_gate + k, -sigmoid_of(gate));
  }
  return change;
}

// The rest of what the listed entries change.
template <int KIND, bool GRADIENT>
LATOME_INLINE double listed_change(const Cell &cell, const Row &row, int64_t n_listed) {
  double total = 0.0;
  for (int64_t k = 0; k < n_listed; k += WIDE) {
    const int64_t count = n_listed - k < WIDE ? n_listed - k : WIDE;
    double xs[WIDE], mus[WIDE], thetas[WIDE], changes[WIDE], slopes[WIDE];
    for (int i = 0; i < WIDE; i++) xs[i] = mus[i] = thetas[i] = 1.0;
    for (int i = 0; i < count; i++) {
      const int64_t entry = row.listed[k + i], gene = cell.genes[entry];
      xs[i] = cell.counts[entry];
      mus[i] = cell.e[gene] * cell.scale;
      if (KIND != POISSON) thetas[i] = cell.theta[gene];
    }
    const vd x = load_wide(xs), mu = load_wide(mus), theta = load_wide(thetas);
    if (KIND == POISSON) {
      store_wide(changes, x * wide_log(mu > wide(TINY) ? mu : wide(TINY)) - log_factorial(x));
    } else {
      vd slope, more = mu + wide((double)EPS), sum = more + theta;
      vd gammas = gamma_ratio(x, theta, &slope);
      store_wide(changes, x * (wide_log(more) - wide_log(sum)) + gammas - log_factorial(x));
      if (GRADIENT) store_wide(slopes, theta * (slope - x / sum));
    }
    for (int i = 0; i < count; i++) {
      total += changes[i];
      if (KIND != POISSON && GRADIENT) row.entry_theta[row.listed[k + i]] += (float)slopes[i];
    }
  }
  return total;
}

template <int KIND, bool GRADIENT>
static double all_changes(const Cell &cell, const Row &row) {
  int64_t n_listed = 0;
  double total = 0.0;
  for (int64_t start = 0; start < cell.n_entries; start += BLOCK) {
    const int64_t stop = start + BLOCK < cell.n_entries ? start + BLOCK : cell.n_entries;
    vf sum = set(0.0f);
    for (int64_t k = start; k < stop; k += LANES)
      sum += entries_change<KIND, GRADIENT>(cell, row, k, stop - k < LANES ? stop - k : LANES, &n_listed);
    total += (double)sum_of(sum);
  }
  return total + listed_change<KIND, GRADIENT>(cell, row, n_listed);
}

// ---- all genes of one cell -----------------------------------------------------------------------------------------

// Where a cell's gradients go; `add_theta` to what is there already.
struct Gradients {
  float *pull, *theta, *gate;
  bool add_theta;
};

// What the first steps leave to the last, for the genes of a tile.
struct Tile {
  float ratio[TILE], e1[TILE], e2[TILE];
};

// Steps of a tile of genes from `start` on: each has few operations a vector, so that a processor works on several
// vectors at once rather than waiting for one.
LATOME_INLINE void tile_ratio(const Cell &cell, Tile &tile, int64_t start, int64_t j, int64_t count) {
  vf mu = load_part(cell.e + j, count, 0.0f) * set(cell.scale);
  store(tile.ratio + j - start, log1p_of(mu * load_part(cell.inverse + j, count, 1.0f)));
}

LATOME_INLINE void tile_exponentials(const Cell &cell, Tile &tile, int64_t start, int64_t j, int64_t count) {
  vf nb = -load_part(cell.theta + j, count, 1.0f) * load(tile.ratio + j - start);
  vf gate = load_part(cell.gate + j, count, 0.0f);
  store(tile.e1 + j - start, exp_of_negative(-absolute(nb - gate)));
  store(tile.e2 + j - start, exp_of_negative(-absolute(gate)));
}

// The last step: log-probability and d/dlog mu added to sums[0] and sums[1], gradients stored.
template <int KIND, bool GRADIENT>
LATOME_INLINE void tile_zeros(const Cell &cell, const Tile &tile, const Gradients &to, int64_t start, int64_t j,
                              int64_t count, vf *sums) {
  vf mu = load_part(cell.e + j, count, 0.0f) * set(cell.scale), pull;
  if (KIND == POISSON) {
    sums[0] -= mu;
    pull = -mu;
  } else {
    vf theta = load_part(cell.theta + j, count, 1.0f), inverse = load_part(cell.inverse + j, count, 1.0f);
    vf gate = KIND == ZINB ? load_part(cell.gate + j, count, 0.0f) : set(0.0f);
    Zero zero = zero_from<KIND, GRADIENT>(mu * inverse, load(tile.ratio + j - start), load(tile.e1 + j - start),
                                          load(tile.e2 + j - start), theta, inverse, gate);
    sums[0] += zero.log_p;
    if (!GRADIENT) return;
    pull = -theta * zero.odds;
    if (KIND == ZINB) {
      pull *= zero.share;
      zero.slope *= zero.share;
      store_part(to.gate + j, zero.closed - zero.share, count);
    }
    if (to.theta && to.add_theta) zero.slope += load_part(to.theta + j, count, 0.0f);
    if (to.theta) store_part(to.theta + j, zero.slope, count);
  }
  if (!GRADIENT) return;
  sums[1] += pull;
  store_part(to.pull + j, pull, count);
}

// A step for all vectors of a tile; the last one may be of a few genes.
#define LATOME_TILE(step)                                                       \
  {                                                                             \
    int64_t j = start;                                                          \
    for (const int64_t count = LANES; j + LANES <= stop; j += LANES) step;      \
    if (const int64_t count = stop - j; count > 0) step;                        \
  }

// Log-probability of all genes as zeros; *pulls, the sum of d/dlog mu.
template <int KIND, bool GRADIENT>
static double all_zeros(const Cell &cell, const Gradients &to, int64_t g, double *pulls) {
  Tile tile;
  double total = 0.0;
  *pulls = 0.0;
  for (int64_t start = 0; start < g; start += TILE) {
    const int64_t stop = start + TILE < g ? start + TILE : g;
    vf sums[2] = {set(0.0f), set(0.0f)};
    if (KIND != POISSON) LATOME_TILE(tile_ratio(cell, tile, start, j, count))
    if (KIND == ZINB) LATOME_TILE(tile_exponentials(cell, tile, start, j, count))
    LATOME_TILE((tile_zeros<KIND, GRADIENT>(cell, tile, to, start, j, count, sums)))
    total += (double)sum_of(sums[0]);
    *pulls += (double)sum_of(sums[1]);
  }
  return total;
}

// Gradients at the entries, in place of those at zeros.
template <int KIND>
static double place_entries(const Cell &cell, const Row &row, const Gradients &to) {
  double change = 0.0;
  for (int64_t k = 0; k < cell.n_entries; k++) {
    const int64_t gene = cell.genes[k];
    change += (double)row.entry_pull[k] - (double)to.pull[gene];
    to.pull[gene] = row.entry_pull[k];
    if (KIND != POISSON && to.theta) to.theta[gene] += row.entry_theta[k];
    if (KIND == ZINB) to.gate[gene] = row.entry_gate[k];
  }
  return change;
}

template <int KIND, bool GRADIENT>
static void evaluate_cell(const Counts &c, const Row &row, int64_t n, const Gradients &to) {
  const int64_t g = c.g, first = c.indptr[n] - c.indptr[0];
  float share;
  Cell cell{cell_means(c, row, n, &share), row.e, c.theta, c.inverse, c.gate ? c.gate + n * g : nullptr,
            c.indptr[n + 1] - c.indptr[n], c.indices + first, c.values + first};
  if (KIND != POISSON && !c.theta) {
    theta_of(c.log_theta + (c.theta_rows ? c.theta_rows[n] : n) * g, 0, g, row.theta, row.inverse);
    cell.theta = row.theta, cell.inverse = row.inverse;
  }
  double pulls, value = all_changes<KIND, GRADIENT>(cell, row);
  value += all_zeros<KIND, GRADIENT>(cell, to, g, &pulls);
  c.value[n] = (float)(value + 0.0 * (double)cell.scale);               // an infinite mean is no number
  if (!GRADIENT) return;
  pulls += place_entries<KIND>(cell, row, to);
  if (!c.log_library) return;
  c.library[n] = (float)pulls;
  const vf back = set((float)pulls * share);
  int64_t j = 0;
  for (; j + LANES <= g; j += LANES) store(to.pull + j, load(to.pull + j) - load(row.e + j) * back);
  for (; j < g; j++) to.pull[j] -= row.e[j] * ((float)pulls * share);
}

// ---- all cells -----------------------------------------------------------------------------------------------------

template <int KIND, bool GRADIENT>
static void evaluate_groups(const Counts &c, int64_t begin, int64_t end) {
  const int64_t g = c.g, padded = g + LANES;
  float *memory = (float *)malloc(sizeof(float) * 7 * padded);
  if (!memory) {                       // what is no number is noticed above
    for (int64_t n = begin * c.group; n < end * c.group && n < c.m; n++) c.value[n] = __builtin_nanf("");
    return;
  }
  Row row{memory,              memory + padded,     memory + 2 * padded, memory + 3 * padded,
          memory + 4 * padded, memory + 5 * padded, (int32_t *)(memory + 6 * padded)};
  for (int64_t group = begin; group < end; group++) {
    const int64_t first = group * c.group, last = first + c.group < c.m ? first + c.group : c.m;
    for (int64_t n = first; n < last; n++) {
      Gradients to{c.pull + n * g, c.theta_gradient ? c.theta_gradient + n * g : nullptr,
                   c.gate_gradient ? c.gate_gradient + n * g : nullptr, false};
      if (c.theta_parts) to.theta = c.theta_parts + group * g, to.add_theta = n > first;
      evaluate_cell<KIND, GRADIENT>(c, row, n, to);
    }
  }
  free(memory);
}

template <int KIND>
static void evaluate_kind(const Counts &c, int64_t begin, int64_t end) {
  if (c.gradient)
    evaluate_groups<KIND, true>(c, begin, end);
  else
    evaluate_groups<KIND, false>(c, begin, end);
}

static void counts_groups(void *context, int64_t begin, int64_t end) {
  const Counts &c = *static_cast<Counts *>(context);
  if (c.kind == POISSON) evaluate_kind<POISSON>(c, begin, end);
  if (c.kind == NB) evaluate_kind<NB>(c, begin, end);
  if (c.kind == ZINB) evaluate_kind<ZINB>(c, begin, end);
}

// The sums of all groups, for blocks of genes: in the same order on any number of threads.
static void theta_blocks(void *context, int64_t begin, int64_t end) {
  const Counts &c = *static_cast<Counts *>(context);
  const int64_t first = begin * BLOCK, last = end * BLOCK < c.g ? end * BLOCK : c.g;
  for (int64_t j = first; j < last; j++) c.theta_sum[j] = c.theta_parts[j];
  for (int64_t n = c.group; n < c.m; n += c.group)
    for (int64_t j = first; j < last; j++) c.theta_sum[j] += c.theta_parts[n / c.group * c.g + j];
}

static void counts(Counts &c, int threads) {
  c.group = c.theta_sum ? GROUP : 1;
  const int64_t groups = (c.m + c.group - 1) / c.group, padded = c.g + LANES;
  const bool shared = c.kind != POISSON && c.theta_form == 0;
  float *memory = (float *)malloc(sizeof(float) * (2 * padded + (c.theta_sum ? groups * c.g : 0)));
  if (!memory) {
    for (int64_t n = 0; n < c.m; n++) c.value[n] = __builtin_nanf("");
    return;
  }
  if (shared) {
    c.theta = memory, c.inverse = memory + padded;
    theta_of(c.log_theta, 0, c.g, memory, memory + padded);
  }
  if (c.theta_sum) c.theta_parts = memory + 2 * padded;
  latome_parallel(counts_groups, &c, groups, threads);
  if (c.theta_sum) latome_parallel(theta_blocks, &c, (c.g + BLOCK - 1) / BLOCK, threads);
  free(memory);
}
