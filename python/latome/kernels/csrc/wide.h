// Vectors of LANES / 2 doubles, for what floats would cancel away: gamma functions of large or fractional counts.

#define WIDE (LANES / 2)

typedef double vd __attribute__((vector_size(4 * LANES)));
typedef int64_t vl __attribute__((vector_size(4 * LANES)));

LATOME_INLINE vd wide(double x) { return x - (vd){}; }
LATOME_INLINE vl wide_bits(int64_t x) { return x - (vl){}; }

LATOME_INLINE vd load_wide(const double *from) {
  vd x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

LATOME_INLINE void store_wide(double *to, vd x) { __builtin_memcpy(to, &x, sizeof x); }

// x to the power of -2^k, and k: from 2^-1021 to 2^1021.
LATOME_INLINE vd wide_scale(vd x, vd *power) {
  vl k = ((vl)x - wide_bits(0x3fe8000000000000)) >> 52;                 // x 2^-k is from 3/4 to 3/2
  vl shifted = k + wide_bits(0x4338000000000000);                       // as the low bits of 1.5 x 2^52
  *power = (vd)shifted - wide(6755399441055744.0);
  return (vd)((wide_bits(1023) - k) << 52);
}

// log(2^k (1 + f)): log(1 + f) = 2 artanh(s), s = f / (2 + f).
LATOME_INLINE vd wide_log_of_parts(vd power, vd f) {
  vd s = f / (f + wide(2.0)), t = s * s;
  vd p = wide(1.0 / 19) * t + wide(1.0 / 17);
  p = p * t + wide(1.0 / 15);
  p = p * t + wide(1.0 / 13);
  p = p * t + wide(1.0 / 11);
  p = p * t + wide(1.0 / 9);
  p = p * t + wide(1.0 / 7);
  p = p * t + wide(1.0 / 5);
  p = p * t + wide(1.0 / 3);
  return power * wide(0.6931471805599453) + (s + s) * (p * t + wide(1.0));
}

// log(x) of positive numbers; NaN stays NaN.
LATOME_INLINE vd wide_log(vd x) {
  vd power, scale = wide_scale(x, &power);
  return wide_log_of_parts(power, x * scale - wide(1.0)) + (x - x);
}

// log(1 + x), x >= 0.
LATOME_INLINE vd wide_log1p(vd x) {
  vd power, scale = wide_scale(x + wide(1.0), &power);
  return wide_log_of_parts(power, x * scale + (scale - wide(1.0))) + (x - x);
}

// exp(x); next to nothing below -708, NaN above 708.
LATOME_INLINE vd wide_exp(vd x) {
  x = x < wide(-708.0) ? wide(-708.0) : x;
  x = x > wide(708.0) ? wide(__builtin_nan("")) : x;
  vd shifted = x * wide(1.4426950408889634) + wide(6755399441055744.0);
  vd k = shifted - wide(6755399441055744.0);
  vd r = (x - k * wide(0.693147180369123816490)) - k * wide(1.90821492927058770002e-10);
  vd p = wide(1.0 / 479001600) * r + wide(1.0 / 39916800);
  p = p * r + wide(1.0 / 3628800);
  p = p * r + wide(1.0 / 362880);
  p = p * r + wide(1.0 / 40320);
  p = p * r + wide(1.0 / 5040);
  p = p * r + wide(1.0 / 720);
  p = p * r + wide(1.0 / 120);
  p = p * r + wide(1.0 / 24);
  p = p * r + wide(1.0 / 6);
  p = p * r + wide(0.5);
  p = p * r + wide(1.0);
  p = p * r + wide(1.0);
  return p * (vd)(((vl)shifted - wide_bits(0x4338000000000000) + wide_bits(1023)) << 52);
}

// ---- gamma functions -----------------------------------------------------------------------------------------------
//
// Stirling's series holds from 8 on, so arguments are moved up by 8: Gamma(t) = Gamma(t + 8) / P(t), where
// P(t) = t (t + 1) ... (t + 7). Ratios are formed before logarithms are taken, so that they keep their digits however
// large theta is. Abramowitz and Stegun, 6.1.40 and 6.3.18.

#define SHIFT 8

// What Stirling's formula lacks of log Gamma(y), from 1 / y.
LATOME_INLINE vd stirling_rest(vd inverse) {
  vd t = inverse * inverse;
  vd c = wide(-691.0 / 360360) * t + wide(1.0 / 1188);
  c = c * t + wide(-1.0 / 1680);
  c = c * t + wide(1.0 / 1260);
  c = c * t + wide(-1.0 / 360);
  return (c * t + wide(1.0 / 12)) * inverse;
}

// And what log(y) - 1 / (2 y) has above digamma(y).
LATOME_INLINE vd stirling_slope(vd inverse) {
  vd t = inverse * inverse;
  vd d = wide(-691.0 / 32760) * t + wide(1.0 / 132);
  d = d * t + wide(-1.0 / 240);
  d = d * t + wide(1.0 / 252);
  d = d * t + wide(-1.0 / 120);
  return (d * t + wide(1.0 / 12)) * t;
}

// P(t) and its derivative.
LATOME_INLINE vd rising(vd t, vd *slope) {
  vd p = t, dp = wide(1.0);
  for (int i = 1; i < SHIFT; i++) {
    vd factor = t + wide(i);
    dp = dp * factor + p;
    p = p * factor;
  }
  *slope = dp;
  return p;
}

// log Gamma(x + theta) - log Gamma(theta), and its derivative in theta.
LATOME_INLINE vd gamma_ratio(vd x, vd theta, vd *slope) {
  vd y = x + theta, a = theta + wide(SHIFT), b = y + wide(SHIFT);
  vd one = wide(1.0), inverse_a = one / a, inverse_b = one / b;
  vd dp_theta, dp_y, p_theta = rising(theta, &dp_theta), p_y = rising(y, &dp_y);
  vd growth = wide_log1p(x * inverse_a);
  *slope = growth + wide(0.5) * x * inverse_a * inverse_b - stirling_slope(inverse_b) + stirling_slope(inverse_a) +
           dp_theta / p_theta - dp_y / p_y;
  return (b - wide(0.5)) * growth + x * (wide_log(a) - one) + stirling_rest(inverse_b) - stirling_rest(inverse_a) +
         wide_log(p_theta / p_y);
}

// log Gamma(x + 1).
LATOME_INLINE vd log_factorial(vd x) {
  vd t = x + wide(1.0), y = t + wide(SHIFT), unused;
  return (y - wide(0.5)) * wide_log(y) - y + wide(0.91893853320467274178) + stirling_rest(wide(1.0) / y) -
         wide_log(rising(t, &unused));
}
