// Log-likelihoods of counts that come from a background or a foreground, value and gradient; the equations stand in
// kernels/mixtures.py. All in double: how the two components compare decides, and both may be large.

struct Mixture {
  int64_t m, g;
  bool gradient;
  const float *counts;                 // (m, g)
  const float *background, *foreground;                                 // (m, g) logarithms of the means
  const float *log_theta;              // (g,), (rows, g) or (m, g)
  int64_t theta_form;                  // 0: one for all cells, 1: by row, 2: (m, g)
  const int64_t *theta_rows;           // (m,) the row of each cell
  const float *mixing;                 // (m, g) logit of the background
  const float *mask;                   // (m, g) weights of the terms, or null
  float *value;                        // (m,)
  float *background_gradient, *foreground_gradient, *theta_gradient, *mixing_gradient;          // (m, g)
};

// The first `count` of WIDE floats, and `rest` behind them.
LATOME_INLINE vd widen(const float *from, int64_t count, double rest) {
  double x[WIDE];
  for (int i = 0; i < WIDE; i++) x[i] = rest;
  for (int64_t i = 0; i < count; i++) x[i] = from[i];
  return load_wide(x);
}

LATOME_INLINE void narrow(float *to, vd x, int64_t count) {
  double from[WIDE];
  store_wide(from, x);
  for (int64_t i = 0; i < count; i++) to[i] = (float)from[i];
}

// One component: log p(x) but for the gamma functions, its slope by log mu, and what is the component's own of that by
// log theta.
struct Component {
  vd log_p, pull, slope;
};

LATOME_INLINE Component component(vd x, vd mu, vd theta) {
  const vd eps = wide((double)EPS), more = mu + eps, sum = mu + (theta + eps);
  Component c;
  vd ratio = wide_log1p(mu / (theta + eps)), odds = mu / sum;
  c.log_p = x * (wide_log(more) - wide_log(sum)) - theta * ratio;
  c.pull = theta * odds * (x / more - wide(1.0));
  c.slope = theta * (odds * (theta / (theta + eps)) - ratio - x / sum);
  return c;
}

// Sets *e to exp(-|x|); log(1 + exp(x)).
LATOME_INLINE vd wide_softplus(vd x, vd *e) {
  *e = wide_exp(x < wide(0.0) ? x : -x);
  return (x < wide(0.0) ? wide(0.0) : x) + wide_log1p(*e);
}

LATOME_INLINE vd wide_sigmoid(vd x, vd e) { return (x < wide(0.0) ? e : wide(1.0)) / (wide(1.0) + e); }

// `count` genes from place `at` on: their log-probability; gradients stored.
LATOME_INLINE vd mixture_part(const Mixture &c, const float *log_theta, int64_t at, int64_t count) {
  vd x = widen(c.counts + at, count, 0.0), mixing = widen(c.mixing + at, count, 0.0);
  vd theta = wide_exp(widen(log_theta, count, 0.0));
  Component back = component(x, wide_exp(widen(c.background + at, count, 0.0)), theta);
  Component fore = component(x, wide_exp(widen(c.foreground + at, count, 0.0)), theta);
  vd gamma_slope, gammas = gamma_ratio(x, theta, &gamma_slope) - log_factorial(x);
  vd ahead = back.log_p - fore.log_p + mixing, e_ahead, e_mixing;
  // log(exp(a) + exp(b)) = b + softplus(a - b), from the smaller of the two
  vd together = wide_softplus(ahead, &e_ahead) + fore.log_p - mixing;
  vd log_p = together + gammas - wide_softplus(-mixing, &e_mixing);
  vd mask = c.mask ? widen(c.mask + at, count, 0.0) : wide(1.0);
  if (c.gradient) {
    vd share = wide_sigmoid(ahead, e_ahead), rest = wide_sigmoid(-ahead, e_ahead);
    narrow(c.background_gradient + at, mask * share * back.pull, count);
    narrow(c.foreground_gradient + at, mask * rest * fore.pull, count);
    narrow(c.theta_gradient + at, mask * (share * back.slope + rest * fore.slope + theta * gamma_slope), count);
    narrow(c.mixing_gradient + at, mask * (wide_sigmoid(-mixing, e_mixing) - rest), count);
  }
  return mask * log_p;
}

static void mixture_cells(void *context, int64_t begin, int64_t end) {
  const Mixture &c = *static_cast<Mixture *>(context);
  for (int64_t n = begin; n < end; n++) {
    const float *log_theta = c.log_theta + (c.theta_form == 0 ? 0 : c.theta_form == 1 ? c.theta_rows[n] : n) * c.g;
    double total = 0.0;
    for (int64_t j = 0; j < c.g; j += WIDE) {
      const int64_t count = c.g - j < WIDE ? c.g - j : WIDE;
      double parts[WIDE];
      store_wide(parts, mixture_part(c, log_theta + j, n * c.g + j, count));
      for (int64_t i = 0; i < count; i++) total += parts[i];
    }
    c.value[n] = (float)total;
  }
}

static void mixture(Mixture &c, int threads) { latome_parallel(mixture_cells, &c, c.m, threads); }
