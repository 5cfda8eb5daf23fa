// Log fold changes between paired samples of a gene: how many are beyond a threshold, and what they are like.

#define DIGIT_BITS 11
#define DIGITS (1 << DIGIT_BITS)
#define FLUSH 64                       /* vectors summed in float32 before they are added to a float64 */

typedef uint32_t __attribute__((may_alias)) key_bits;

struct Changes {
  int64_t n;                           // samples
  const float *first, *second;         // rows of genes, so many floats apart:
  int64_t first_stride, second_stride;
  float shift, small_shift, threshold; // added to both samples, for the counts and for the summary
  int64_t n_widths;
  const int64_t *widths;               // steps between the ends of each interval
  float *scratch;                      // (g, 2, n)
  double *found;                       // (g, 9 + 2 n_widths)
};

// ---- rows in ascending order, digit by digit: 11 bits at a time from the lowest, no comparison ----------------------

// Unsigned numbers in the order of the floats; every NaN comes last.
LATOME_INLINE uint32_t ordered_bits(uint32_t bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0xffffffffu;
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

LATOME_INLINE uint32_t float_bits(uint32_t key) { return key ^ (key >> 31 ? 0x80000000u : 0xffffffffu); }

LATOME_INLINE void running_sum(uint32_t *counts) {
  for (uint32_t j = 0, start = 0; j < DIGITS; j++) {
    uint32_t count = counts[j];
    counts[j] = start;
    start += count;
  }
}

// A row of n < 2^32 floats into `sorted`; `row` is used up.
static void sort_row(key_bits *row, key_bits *sorted, int64_t n) {
  uint32_t low[DIGITS] = {}, middle[DIGITS] = {}, high[DIGITS] = {};
  for (int64_t i = 0; i < n; i++) {
    const uint32_t key = ordered_bits(row[i]);
    row[i] = key;
    low[key & (DIGITS - 1)]++;
    middle[key >> DIGIT_BITS & (DIGITS - 1)]++;
    high[key >> 2 * DIGIT_BITS]++;
  }
  running_sum(low);
  running_sum(middle);
  running_sum(high);
  for (int64_t i = 0; i < n; i++) sorted[low[row[i] & (DIGITS - 1)]++] = row[i];
  for (int64_t i = 0; i < n; i++) row[middle[sorted[i] >> DIGIT_BITS & (DIGITS - 1)]++] = sorted[i];
  for (int64_t i = 0; i < n; i++) sorted[high[row[i] >> 2 * DIGIT_BITS]++] = float_bits(row[i]);
}

// ---- one gene -------------------------------------------------------------------------------------------------------

LATOME_INLINE vf log2_ratio(vf a, vf b, vf shift) { return log_of((a + shift) / (b + shift)) * set(1.44269504f); }

// The changes into `row`; the shares beyond the threshold and the means into `found`.
static void measure_changes(const Changes &p, const float *first, const float *second, float *row, double *found) {
  const vf shift = set(p.shift), small_shift = set(p.small_shift), threshold = set(p.threshold);
  vi up = set_int(0), down = set_int(0);
  double sums[3] = {};
  for (int64_t from = 0; from < p.n; from += FLUSH * LANES) {
    const int64_t to = from + FLUSH * LANES < p.n ? from + FLUSH * LANES : p.n;
    vf sum1 = set(0.0f), sum2 = set(0.0f), sum = set(0.0f);
    for (int64_t i = from; i < to; i += LANES) {
      vf a = load_part(first + i, to - i, 0.0f), b = load_part(second + i, to - i, 0.0f);
      vf change = log2_ratio(a, b, shift), summary = log2_ratio(a, b, small_shift);
      vi there = first_lanes(to - i);
      up -= (vi)(change >= threshold) & there;
      down -= (vi)(change < -threshold) & there;
      store_part(row + i, summary, to - i);
      sum1 += a;
      sum2 += b;
      sum += summary;                  // 0 where there are no samples
    }
    sums[0] += sum_of(sum1);
    sums[1] += sum_of(sum2);
    sums[2] += sum_of(sum);
  }
  int64_t n_up = 0, n_down = 0;
  for (int j = 0; j < LANES; j++) {
    n_up += up[j];
    n_down += down[j];
  }
  found[0] = (double)n_up / p.n;
  found[1] = (double)n_down / p.n;
  for (int j = 0; j < 3; j++) found[2 + j] = sums[j] / p.n;
}

static double deviation(const float *row, int64_t n, double mean) {
  const vf centre = set((float)mean);
  double total = 0;
  for (int64_t from = 0; from < n; from += FLUSH * LANES) {
    const int64_t to = from + FLUSH * LANES < n ? from + FLUSH * LANES : n;
    vf sum = set(0.0f);
    for (int64_t i = from; i < to; i += LANES) {
      vf apart = load_part(row + i, to - i, (float)mean) - centre;
      sum += apart * apart;
    }
    total += sum_of(sum);
  }
  const double off = mean - (float)mean, variance = total / n - off * off;
  return variance < 0 ? 0.0 : sqrt(variance);
}

static void changes_range(void *context, int64_t begin, int64_t end) {
  const Changes &p = *static_cast<Changes *>(context);
  for (int64_t gene = begin; gene < end; gene++) {
    double *found = p.found + gene * (9 + 2 * p.n_widths);
    float *row = p.scratch + gene * 2 * p.n, *sorted = row + p.n;
    measure_changes(p, p.first + gene * p.first_stride, p.second + gene * p.second_stride, row, found);
    found[5] = deviation(row, p.n, found[4]);
    sort_row((key_bits *)row, (key_bits *)sorted, p.n);
    found[6] = ((double)sorted[(p.n - 1) / 2] + sorted[p.n / 2]) / 2;
    found[7] = sorted[0];
    found[8] = sorted[p.n - 1];
    for (int64_t j = 0; j < p.n_widths; j++) {
      const int64_t width = p.widths[j];
      int64_t best = 0;
      for (int64_t i = 1; i < p.n - width; i++)
        if (sorted[i + width] - sorted[i] < sorted[best + width] - sorted[best]) best = i;
      found[9 + 2 * j] = sorted[best];
      found[10 + 2 * j] = sorted[best + width];
    }
  }
}

static void changes(Changes &work, int64_t g, int threads) { latome_parallel(changes_range, &work, g, threads); }
