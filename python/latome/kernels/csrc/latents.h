// Draws of normal latents and their divergence from Normal(0, I); the equations stand in kernels/latents.py.

struct Latents {
  int64_t m, k;
  const float *mean, *variance, *noise;                                 // (m, k)
};

static void draw_latents(const Latents &of, float *z, float *divergence) {
  for (int64_t n = 0; n < of.m; n++) {
    vf sum = set(0.0f);
    for (int64_t j = 0; j < of.k; j += LANES) {
      const int64_t at = n * of.k + j, count = of.k - j;
      vf mean = load_part(of.mean + at, count, 0.0f), variance = load_part(of.variance + at, count, 1.0f);
      store_part(z + at, mean + root_of(variance) * load_part(of.noise + at, count, 0.0f), count);
      sum += (variance - set(1.0f)) - log_of(variance) + mean * mean;
    }
    divergence[n] = 0.5f * sum_of(sum);
  }
}

static void latents_gradient(const Latents &of, const float *by_z, const float *by_divergence, float *by_mean,
                             float *by_variance) {
  for (int64_t n = 0; n < of.m; n++) {
    const vf weight = set(by_divergence[n]);
    for (int64_t j = 0; j < of.k; j += LANES) {
      const int64_t at = n * of.k + j, count = of.k - j;
      vf mean = load_part(of.mean + at, count, 0.0f), variance = load_part(of.variance + at, count, 1.0f);
      vf pull = load_part(by_z + at, count, 0.0f), noise = load_part(of.noise + at, count, 0.0f);
      store_part(by_mean + at, pull + weight * mean, count);
      pull = pull * noise / root_of(variance) + weight * (variance - set(1.0f)) / variance;
      store_part(by_variance + at, set(0.5f) * pull, count);
    }
  }
}
