// Vectors of LANES floats, and the functions of them that likelihoods and layers need.
//
// Included once per instruction set, inside its namespace, with LANES (4, 8 or 16) defined. Branch-free, about one unit
// in the last place over all that float32 holds; what is no number, or infinite, never becomes an ordinary one.

#ifndef LATOME_INLINE
#define LATOME_INLINE static inline __attribute__((always_inline, unused))
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

// ---- moving values -------------------------------------------------------------------------------------------------

LATOME_INLINE vf set(float x) { return x - (vf){}; }
LATOME_INLINE vi set_int(int32_t x) { return x - (vi){}; }

LATOME_INLINE vf load(const float *from) {
  vf x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

LATOME_INLINE void store(float *to, vf x) { __builtin_memcpy(to, &x, sizeof x); }

// The first `count` < LANES values, and `rest` behind them.
LATOME_INLINE vf load_tail(const float *from, int64_t count, float rest) {
  float x[LANES];
  for (int i = 0; i < LANES; i++) x[i] = rest;
  for (int64_t i = 0; i < count; i++) x[i] = from[i];
  return load(x);
}

LATOME_INLINE void store_tail(float *to, vf x, int64_t count) {
  float from[LANES];
  store(from, x);
  for (int64_t i = 0; i < count; i++) to[i] = from[i];
}

// The same of up to LANES values, or of more that follow.
LATOME_INLINE vf load_part(const float *from, int64_t count, float rest) {
  return count >= LANES ? load(from) : load_tail(from, count, rest);
}

LATOME_INLINE void store_part(float *to, vf x, int64_t count) {
  if (count >= LANES)
    store(to, x);
  else
    store_tail(to, x, count);
}

// True in the first `count` lanes.
LATOME_INLINE vi first_lanes(int64_t count) {
  int32_t place[LANES];
  for (int i = 0; i < LANES; i++) place[i] = i;
  vi x;
  __builtin_memcpy(&x, place, sizeof x);
  return x < set_int((int32_t)count);
}

LATOME_INLINE vi float_to_bits(vf x) { return (vi)x; }
LATOME_INLINE vf bits_to_float(vi x) { return (vf)x; }
LATOME_INLINE vf absolute(vf x) { return (vf)((vi)x & set_int(0x7fffffff)); }
LATOME_INLINE vf larger(vf a, vf b) { return a > b ? a : b; }           // where either is NaN: b
LATOME_INLINE vf smaller(vf a, vf b) { return a < b ? a : b; }

LATOME_INLINE float sum_of(vf x) {
  float v[LANES];
  store(v, x);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) v[i] += v[i + half];
  return v[0];
}

LATOME_INLINE float largest_of(vf x) {
  float v[LANES];
  store(v, x);
  for (int half = LANES / 2; half; half /= 2)
    for (int i = 0; i < half; i++) v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
  return v[0];
}

// ---- exponentials --------------------------------------------------------------------------------------------------

// exp(x) = 2^k p, with log p at most log(2) / 2 from zero. k comes back in `shifted`, as the low bits of a float.
LATOME_INLINE vf exp_reduced(vf x, vf *shifted) {
  const vf magic = set(12582912.0f);                 // adding 1.5 x 2^23 rounds to the nearest whole number
  *shifted = x * set(1.44269504f) + magic;
  vf k = *shifted - magic;
  vf r = (x - k * set(0.693359375f)) - k * set(-2.12194440e-4f);
  vf p = set(0.00139504918f) * r + set(0.00836888935f);
  p = p * r + set(0.0416662058f);
  p = p * r + set(0.166665188f);
  p = p * r + set(0.500000010f);
  return p * (r * r) + r + set(1.0f);
}

LATOME_INLINE vf power_of_two(vi k) { return (vf)((k + set_int(127)) << 23); }

// exp(x); overflows and underflows where it should.
LATOME_INLINE vf exp_of(vf x) {
  x = x > set(89.0f) ? set(89.0f) : x;             // no comparison with NaN is true: it stays
  x = x < set(-104.0f) ? set(-104.0f) : x;
  vf shifted, p = exp_reduced(x, &shifted);
  vi k = (vi)shifted - set_int(0x4b400000), half = k >> 1;
  return p * power_of_two(half) * power_of_two(k - half);
}

// exp(x) for x <= 0; nothing at all below 2^-126.
LATOME_INLINE vf exp_of_negative(vf x) {
  x = x < set(-88.0f) ? set(-88.0f) : x;
  vf shifted, p = exp_reduced(x, &shifted);
  return p * power_of_two((vi)shifted - set_int(0x4b400000));
}

// ---- logarithms ----------------------------------------------------------------------------------------------------

// log(2^k (1 + f)), f from -1/4 to 1/2.
LATOME_INLINE vf log_of_parts(vi k, vf f) {
  vf q = set(-0.0450748158f) * f + set(0.104630224f);
  q = q * f + set(-0.131611925f);
  q = q * f + set(0.144783946f);
  q = q * f + set(-0.166473123f);
  q = q * f + set(0.199908613f);
  q = q * f + set(-0.250000958f);
  q = q * f + set(0.333334491f);
  vf square = f * f, power = __builtin_convertvector(k, vf);
  vf rest = square * (q * f - set(0.5f)) + power * set(-2.12194440e-4f);
  return (rest + f) + power * set(0.693359375f);
}

// k of x = 2^k (1 + f).
LATOME_INLINE vi log_power(vf x) { return ((vi)x - set_int(0x3f400000)) >> 23; }

// log(x); minus infinity at zero, NaN below it. Numbers below 2^-126 count as that.
LATOME_INLINE vf log_of(vf x) {
  vf normal = x < set(1.17549435e-38f) ? set(1.17549435e-38f) : x;
  vi k = log_power(normal);
  vf f = (vf)((vi)normal - (k << 23)) - set(1.0f);
  vf found = log_of_parts(k, f);
  found = x > set(3.40282347e38f) ? x : found;
  found = x == set(0.0f) ? set(-__builtin_inff()) : found;
  found = x < set(0.0f) ? set(__builtin_nanf("")) : found;
  return x == x ? found : x;
}

// log(1 + x) for x > -1; exact to the last place near zero too.
LATOME_INLINE vf log1p_of(vf x) {
  vi k = log_power(x + set(1.0f));
  vf inverse = power_of_two(-k);
  vf found = log_of_parts(k, x * inverse + (inverse - set(1.0f)));
  return x < set(1e38f) ? found : x + x;             // infinite or NaN (or beyond anything of use)
}

// ---- logistic ------------------------------------------------------------------------------------------------------

// sigmoid(x) from e = exp(-|x|) and 1 / (1 + e).
LATOME_INLINE vf sigmoid_from(vf x, vf e, vf inverse) { return x < set(0.0f) ? e * inverse : inverse; }

LATOME_INLINE vf sigmoid_of(vf x) {
  vf e = exp_of_negative(-absolute(x));
  return sigmoid_from(x, e, set(1.0f) / (set(1.0f) + e));
}

// log(1 + exp(x)).
LATOME_INLINE vf softplus_of(vf x) {
  return log1p_of(exp_of_negative(-absolute(x))) + (x < set(0.0f) ? set(0.0f) : x);
}
