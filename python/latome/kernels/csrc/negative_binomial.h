// The negative binomial at one gene, with and without zero inflation; the equations stand in kernels/counts.py.

#define EPS 1e-8f                      /* inside the logarithms */
#define TINY 1.17549435e-38f

enum Kind { POISSON, NB, ZINB };

// ---- one gene as a zero --------------------------------------------------------------------------------------------

struct Zero {
  vf nb, log_p;                        // log-probabilities of zero: without and with inflation, which is
  vf level, rest;                      // level + log(1 + rest), rest from -1/2 to 1
  vf odds, slope;                      // mu / (mu + theta + eps); d nb / d log theta
  vf share, closed;                    // how much of a zero the NB explains; sigmoid(-gate)
};

// theta (odds theta / (theta + eps) - ratio), in a series where the two are close.
LATOME_INLINE vf slope_of_zero(vf ratio, vf odds, vf theta, vf inverse) {
  vf series = set(1.0f / 6) * odds + set(1.0f / 5);
  series = series * odds + set(1.0f / 4);
  series = series * odds + set(1.0f / 3);
  series = (series * odds + set(0.5f)) * odds;
  vf pull = theta * odds;
  return (odds < set(0.0625f) ? -pull * series : pull - theta * ratio) - pull * (set(EPS) * inverse);
}

// The rest of a zero, once its two kinds of functions are known: relative = mu / (theta + eps) with
// ratio = log(1 + relative), and the exponentials e1 = exp(-|nb - gate|) and e2 = exp(-|gate|).
template <int KIND, bool GRADIENT>
LATOME_INLINE Zero zero_from(vf relative, vf ratio, vf e1, vf e2, vf theta, vf inverse, vf gate) {
  Zero zero;
  const vf one = set(1.0f);
  zero.nb = zero.log_p = -theta * ratio;
  if (KIND == ZINB) {
    vf more1 = one + e1, more2 = one + e2, both = more1 * more2, inverse_both;
    if (GRADIENT) {                    // one division for three
      vf all = one / (both * (one + relative));
      zero.odds = relative * (all * both);
      inverse_both = all * (one + relative);
    } else {
      inverse_both = one / both;
    }
    vf inverse1 = inverse_both * more2, inverse2 = inverse_both * more1;
    zero.level = larger(zero.nb, gate) - (gate > set(0.0f) ? gate : set(0.0f));
    zero.level += gate * set(0.0f);    // an infinite gate is no number
    zero.rest = (e1 - e2) * inverse2;
    zero.log_p = zero.level + log1p_of(zero.rest);
    if (GRADIENT) {
      zero.share = sigmoid_from(zero.nb - gate, e1, inverse1);
      zero.closed = sigmoid_from(-gate, e2, inverse2);
    }
  } else if (GRADIENT) {
    zero.odds = relative / (one + relative);
  }
  if (GRADIENT) zero.slope = slope_of_zero(ratio, zero.odds, theta, inverse);
  return zero;
}

template <int KIND, bool GRADIENT>
LATOME_INLINE Zero at_zero(vf mu, vf theta, vf inverse, vf gate) {
  vf relative = mu * inverse, ratio = log1p_of(relative), e1 = relative, e2 = relative;
  if (KIND == ZINB) e1 = exp_of_negative(-absolute(-theta * ratio - gate)), e2 = exp_of_negative(-absolute(gate));
  return zero_from<KIND, GRADIENT>(relative, ratio, e1, e2, theta, inverse, gate);
}

// ---- small counts ---------------------------------------------------------------------------------------------------

// log Gamma(x + theta) - log Gamma(theta) - x log(theta + eps) - log x! of whole x from 1 to 4, and *slope:
// theta d/dtheta of the gamma functions is x - slope.
LATOME_INLINE vf few_gammas(vf x, vf theta, vf inverse, vf *slope) {
  const vf one = set(1.0f), none = set(0.0f);
  vi two = x > set(1.5f), three = x > set(2.5f), four = x > set(3.5f);
  vf product = theta * inverse;
  product *= two ? (one + inverse) * set(0.5f) : one;
  product *= three ? (one + inverse * set(2.0f)) * set(1.0f / 3) : one;
  product *= four ? (one + inverse * set(3.0f)) * set(0.25f) : one;
  *slope = (two ? one / (theta + one) : none) + (three ? set(2.0f) / (theta + set(2.0f)) : none) +
           (four ? set(3.0f) / (theta + set(3.0f)) : none);
  return log_of(product);
}

LATOME_INLINE vf few_log_factorials(vf x) {
  vf found = x > set(1.5f) ? set(0.693147181f) : set(0.0f);
  found = x > set(2.5f) ? set(1.79175947f) : found;
  return x > set(3.5f) ? set(3.17805383f) : found;
}
