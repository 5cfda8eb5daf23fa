// Adam over parameters wherever they and their gradients lie; its two moments lie in one buffer each.

struct AdamStep {
  int64_t n_parts;
  float *const *weights;
  const float *const *gradients;
  const int64_t *starts;               // (n_parts + 1,): where each part begins in the moments
  float *first, *second;
  float rate, share1, beta2, share2, eps, decay, shrink, correction;   // share = 1 - beta, exactly
};

// 1 / sqrt(x) for x > 0 to float32's last digits; 0 gives a large finite number.
LATOME_INLINE vf inverse_root(vf x) {
  vi bits;
  memcpy(&bits, &x, sizeof bits);
  bits = set_int(0x5f3759df) - (bits >> 1);
  vf y;
  memcpy(&y, &bits, sizeof y);
  const vf half = set(0.5f) * x, three_halves = set(1.5f);
  y = y * (three_halves - half * y * y);
  y = y * (three_halves - half * y * y);
  y = y * (three_halves - half * y * y);
  return y;
}

LATOME_INLINE void adam_lanes(const AdamStep &s, float *weight, const float *gradient, float *first, float *second,
                              int count) {
  vf w = load_some(weight, count), pull = set(s.decay) * w;
  if (gradient) pull += load_some(gradient, count);
  vf m = load_some(first, count), v = load_some(second, count);
  m += set(s.share1) * (pull - m);
  v = set(s.beta2) * v + set(s.share2) * pull * pull;
  vf root = v * inverse_root(v) * set(s.correction) + set(s.eps);
  w = set(s.shrink) * w - set(s.rate) * m / root;
  store_some(weight, count, w);
  store_some(first, count, m);
  store_some(second, count, v);
}

static void adam_range(void *context, int64_t begin, int64_t end) {
  const AdamStep &s = *static_cast<AdamStep *>(context);
  for (int64_t part = 0; part < s.n_parts; part++) {
    const int64_t start = s.starts[part];
    int64_t from = begin > start ? begin : start, to = end < s.starts[part + 1] ? end : s.starts[part + 1];
    if (from >= to) continue;
    float *weight = s.weights[part] - start;
    const float *gradient = s.gradients[part];         // null: zero everywhere
    for (; from < to; from += LANES) {
      const float *pull = gradient ? gradient + (from - start) : gradient;
      int count = to - from < LANES ? (int)(to - from) : LANES;
      if (count == LANES)
        adam_lanes(s, weight + from, pull, s.first + from, s.second + from, LANES);
      else
        adam_lanes(s, weight + from, pull, s.first + from, s.second + from, count);
    }
  }
}

static void adam_step(AdamStep &s, int threads) { latome_parallel(adam_range, &s, s.starts[s.n_parts], threads); }
