// Rows of numbers in ascending order, digit by digit: 11 bits at a time from the lowest, no comparison.

#define DIGIT_BITS 11
#define DIGITS (1 << DIGIT_BITS)

typedef uint32_t __attribute__((may_alias)) key_bits;

struct SortRows {
  int64_t n;
  float *rows, *sorted;
};

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

static void sort_range(void *context, int64_t begin, int64_t end) {
  const SortRows &work = *static_cast<SortRows *>(context);
  for (int64_t i = begin; i < end; i++)
    sort_row((key_bits *)(work.rows + i * work.n), (key_bits *)(work.sorted + i * work.n), work.n);
}

// Each of m rows of n < 2^32 floats into `sorted`; `rows` is used up.
static void sort_rows(SortRows &work, int64_t m, int threads) { latome_parallel(sort_range, &work, m, threads); }
