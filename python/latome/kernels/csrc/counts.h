// Log-likelihoods of counts, value and gradient; the equations stand in kernels/counts.py.
//
// A cell is treated as if all its counts were zero, in vectors of genes and in closed form; before that, what its
// entries change is computed in vectors of entries. Counts of 1 to 4 need products of theta + i only; others take
// gamma functions, in double.

#include "wide.h"
#include "negative_binomial.h"
#include "entries.h"

#define TILE (32 * LANES)              /* genes that go through the steps of a zero together */
#define GROUP 8                        /* cells whose gradients are summed together */

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
  float *gate_gradient;                // (m, g), may be `gate` itself
  float *sums[3];                      // (g,) gradients of theta, location and gate summed over cells; or null
  float *parts[3];                     // (groups, g) the same over the cells of a group
  float *theta, *inverse;              // (g,) theta and 1 / (theta + eps), where they are those of all cells
  int64_t group;                       // cells that are worked through together
  const float *location_bias, *gate_bias;   // (g,) added to each cell's location and gate first, in place; or null
};

// row (g,) += bias.
static void add_bias(float *row, const float *bias, int64_t g) {
  int64_t j = 0;
  for (; j + LANES <= g; j += LANES) store(row + j, load(row + j) + load(bias + j));
  for (; j < g; j++) row[j] += bias[j];
}

// sum (g,) += row, or = row.
static void add_row(float *sum, const float *row, int64_t g, bool add) {
  if (!sum) return;
  if (!add) memset(sum, 0, sizeof(float) * g);
  add_bias(sum, row, g);
}

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

// ---- all genes of one cell -----------------------------------------------------------------------------------------

// Where a cell's gradients go, and their sums over a group; `add` to those that are there already.
struct Gradients {
  float *pull, *theta, *gate;
  float *pull_sum, *gate_sum;
  bool add, theta_is_sum;
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

// The last step: log-probability and d/dlog mu added to sums[0] and sums[1], gradients stored. What the inflation adds
// is left as a product, sums[2], of which one logarithm a tile is taken: its factors are from 1/2 to 2.
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
    sums[0] += KIND == ZINB ? zero.level : zero.nb;
    if (KIND == ZINB) sums[2] *= set(1.0f) + zero.rest;
    if (!GRADIENT) return;
    pull = -theta * zero.odds;
    if (KIND == ZINB) {
      pull *= zero.share;
      zero.slope *= zero.share;
      store_part(to.gate + j, zero.closed - zero.share, count);
    }
    if (to.theta && to.theta_is_sum && to.add) zero.slope += load_part(to.theta + j, count, 0.0f);
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
    vf sums[3] = {set(0.0f), set(0.0f), set(1.0f)};
    if (KIND != POISSON) LATOME_TILE(tile_ratio(cell, tile, start, j, count))
    if (KIND == ZINB) LATOME_TILE(tile_exponentials(cell, tile, start, j, count))
    LATOME_TILE((tile_zeros<KIND, GRADIENT>(cell, tile, to, start, j, count, sums)))
    total += (double)sum_of(KIND == ZINB ? sums[0] + log_of(sums[2]) : sums[0]);
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
  if (c.location_bias) add_bias((float *)c.location + n * g, c.location_bias, g);
  if (c.gate_bias) add_bias((float *)c.gate + n * g, c.gate_bias, g);
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
  if (c.log_library) {
    c.library[n] = (float)pulls;
    const vf back = set((float)pulls * share);
    int64_t j = 0;
    for (; j + LANES <= g; j += LANES) store(to.pull + j, load(to.pull + j) - load(row.e + j) * back);
    for (; j < g; j++) to.pull[j] -= row.e[j] * ((float)pulls * share);
  }
  add_row(to.pull_sum, to.pull, g, to.add);
  add_row(to.gate_sum, to.gate, g, to.add);
}

// ---- all cells -----------------------------------------------------------------------------------------------------

// At least g, and at least the number of entries of any cell from begin to end.
static int64_t longest_row(const int64_t *indptr, int64_t begin, int64_t end, int64_t m, int64_t g) {
  for (int64_t n = begin; n < end && n < m; n++)
    if (indptr[n + 1] - indptr[n] > g) g = indptr[n + 1] - indptr[n];
  return g;
}

template <int KIND, bool GRADIENT>
static void evaluate_groups(const Counts &c, int64_t begin, int64_t end) {
  const int64_t g = c.g, padded = longest_row(c.indptr, begin * c.group, end * c.group, c.m, g) + LANES;
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
      Gradients to{c.pull ? c.pull + n * g : nullptr, c.theta_gradient ? c.theta_gradient + n * g : nullptr,
                   c.gate_gradient ? c.gate_gradient + n * g : nullptr, c.parts[1] ? c.parts[1] + group * g : nullptr,
                   c.parts[2] ? c.parts[2] + group * g : nullptr, n > first, c.parts[0] != nullptr};
      if (c.parts[0]) to.theta = c.parts[0] + group * g;
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
static void sum_blocks(void *context, int64_t begin, int64_t end) {
  const Counts &c = *static_cast<Counts *>(context);
  const int64_t first = begin * BLOCK, last = end * BLOCK < c.g ? end * BLOCK : c.g;
  for (int i = 0; i < 3; i++)
    for (int64_t n = 0; c.sums[i] && n < c.m; n += c.group)
      add_row(c.sums[i] + first, c.parts[i] + n / c.group * c.g + first, last - first, n > 0);
}

static void counts(Counts &c, int threads) {
  const int n_sums = (c.sums[0] != nullptr) + (c.sums[1] != nullptr) + (c.sums[2] != nullptr);
  c.group = n_sums ? GROUP : 1;
  const int64_t groups = (c.m + c.group - 1) / c.group, padded = c.g + LANES;
  const bool shared = c.kind != POISSON && c.theta_form == 0;
  float *memory = (float *)malloc(sizeof(float) * (2 * padded + n_sums * groups * c.g));
  if (!memory) {
    for (int64_t n = 0; n < c.m; n++) c.value[n] = __builtin_nanf("");
    return;
  }
  if (shared) {
    c.theta = memory, c.inverse = memory + padded;
    theta_of(c.log_theta, 0, c.g, memory, memory + padded);
  }
  float *parts = memory + 2 * padded;
  for (int i = 0; i < 3; i++)
    if (c.sums[i]) c.parts[i] = parts, parts += groups * c.g;
  latome_parallel(counts_groups, &c, groups, threads);
  if (n_sums) latome_parallel(sum_blocks, &c, (c.g + BLOCK - 1) / BLOCK, threads);
  free(memory);
}
