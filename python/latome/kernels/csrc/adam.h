// Adam over parameters wherever they and their gradients lie; its two moments lie in one buffer each.

struct AdamStep {
  int64_t n_parts;
  float *const *weights;
  const float *const *gradients;
  const int64_t *starts, *sizes;       // (n_parts,): where each part begins in the moments, and its elements
  float *first, *second;
  float rate, share1, beta2, share2, eps, decay, shrink, correction;   // share = 1 - beta, exactly
  int64_t n_shares;
};

// sqrt(x) for x >= 0; by Newton's steps where the processor's own instruction is out of reach.
LATOME_INLINE vf root_of(vf x) {
#if LATOME_X86 && LANES == 16
  return (vf)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)x);
#elif LATOME_X86 && LANES == 8
  return (vf)_mm256_sqrt_ps((__m256)x);
#elif LATOME_X86
  return (vf)_mm_sqrt_ps((__m128)x);
#else
  vf y = bits_to_float(0x5f3759df - (float_to_bits(x) >> 1));
  for (int i = 0; i < 3; i++) y = y * (1.5f - 0.5f * x * y * y);
  return x * y;
#endif
}

LATOME_INLINE void adam_lanes(const AdamStep &s, float *weight, const float *gradient, float *first, float *second,
                              int count) {
  vf w = load_some(weight, count), pull = set(s.decay) * w;
  if (gradient) pull += load_some(gradient, count);
  vf m = load_some(first, count), v = load_some(second, count);
  m += set(s.share1) * (pull - m);
  v = set(s.beta2) * v + set(s.share2) * pull * pull;
  vf root = root_of(v) * set(s.correction) + set(s.eps);
  w = set(s.shrink) * w - set(s.rate) * m / root;
  store_some(weight, count, w);
  store_some(first, count, m);
  store_some(second, count, v);
}

// Each thread takes its share of every part: where the products that made the gradients have left it.
static void adam_shares(void *context, int64_t begin, int64_t end) {
  const AdamStep &s = *static_cast<AdamStep *>(context);
  for (int64_t part = 0; part < s.n_parts; part++) {
    const int64_t start = s.starts[part], size = s.sizes[part];
    const int64_t from = size * begin / s.n_shares, to = size * end / s.n_shares;
    float *weights = s.weights[part], *first = s.first + start, *second = s.second + start;
    const float *gradients = s.gradients[part];        // null: zero everywhere
    int64_t i = from;
    for (; i + LANES <= to; i += LANES)
      adam_lanes(s, weights + i, gradients ? gradients + i : gradients, first + i, second + i, LANES);
    if (i < to) adam_lanes(s, weights + i, gradients ? gradients + i : gradients, first + i, second + i, (int)(to - i));
  }
}

static void adam_step(AdamStep &s, int threads) {
  s.n_shares = threads > 1 ? threads : 1;
  latome_parallel(adam_shares, &s, s.n_shares, threads);
}
