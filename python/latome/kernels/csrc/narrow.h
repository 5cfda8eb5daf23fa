// A linear layer with few outputs, such as the heads of an encoder: faster alone than a product on several threads.
//
// Sizes: m rows, h inputs, k outputs; x (m, h), weight (k, h), out (m, k), row by row.

// out = x W' + bias.
static void narrow_product(int64_t m, int64_t h, int64_t k, const float *x, const float *weight, const float *bias,
                           float *out) {
  for (int64_t n = 0; n < m; n++) {
    const float *row = x + n * h;
    for (int64_t j = 0; j < k; j++) {
      const float *w = weight + j * h;
      vf sum = {}, other = {};
      int64_t c = 0;
      for (; c + 2 * LANES <= h; c += 2 * LANES) {
        sum += load(row + c) * load(w + c);
        other += load(row + c + LANES) * load(w + c + LANES);
      }
      float total = sum_of(sum + other);
      for (; c < h; c++) total += row[c] * w[c];
      out[n * k + j] = total + bias[j];
    }
  }
}

// of_x (m, h) += pull W; of_weight (k, h) = pull' x; of_bias (k,): the sums of pull (m, k). Either may be null.
static void narrow_gradient(int64_t m, int64_t h, int64_t k, const float *pull, const float *x, const float *weight,
                            float *of_x, float *of_weight, float *of_bias) {
  if (of_weight) memset(of_weight, 0, sizeof(float) * k * h);
  if (of_bias) memset(of_bias, 0, sizeof(float) * k);
  for (int64_t n = 0; n < m; n++) {
    for (int64_t j = 0; j < k; j++) {
      const float p = pull[n * k + j];
      const float *row = x + n * h, *w = weight + j * h;
      float *to_x = of_x ? of_x + n * h : of_x, *to_weight = of_weight ? of_weight + j * h : of_weight;
      int64_t c = 0;
      for (; c + LANES <= h; c += LANES) {
        if (of_x) store(to_x + c, load(to_x + c) + set(p) * load(w + c));
        if (of_weight) store(to_weight + c, load(to_weight + c) + set(p) * load(row + c));
      }
      for (; c < h; c++) {
        if (of_x) to_x[c] += p * w[c];
        if (of_weight) to_weight[c] += p * row[c];
      }
      if (of_bias) of_bias[j] += p;
    }
  }
}
