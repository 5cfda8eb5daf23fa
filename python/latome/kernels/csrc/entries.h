// What a cell's entries change of a log-probability that took all its counts as zero; part of counts.h.
//
// Counts of 1 to 4 need products of theta + i only; others take gamma functions, in double.

#define BLOCK 1024                     /* genes whose terms floats add up; sums of blocks are doubles */

// What one cell works with: g floats each, `listed` g places.
struct Row {
  float *e, *theta, *inverse, *entry_pull, *entry_theta, *entry_gate;
  int32_t *listed;
};

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
