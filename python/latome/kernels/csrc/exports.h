// The exported functions of the kernels, each a call of the body for the instruction set in use.

// -- counts --------------------------------------------------------------------------------------------------------

// Likelihoods of counts; see `Counts` in counts.h. `sizes` holds m, g, the kind, whether gradients are wanted and the
// form of theta; `arrays` indptr, indices, values, location, log_library, log_theta, theta_rows, gate; then value and
// the gradients of location, library, theta by cell and gate; the sums over cells of those of theta, location and gate;
// and what is added to location and gate first.
LATOME_EXPORT void latome_counts(const int64_t *sizes, void *const *arrays, int threads) {
#define LATOME_COUNTS(set)                                                                                       \
  set::Counts work{sizes[0], sizes[1], sizes[2], sizes[3] != 0, (const int64_t *)arrays[0],                      \
                   (const int64_t *)arrays[1], (const float *)arrays[2], (const float *)arrays[3],               \
                   (const float *)arrays[4], (const float *)arrays[5], sizes[4], (const int64_t *)arrays[6],     \
                   (const float *)arrays[7], (float *)arrays[8], (float *)arrays[9], (float *)arrays[10],        \
                   (float *)arrays[11], (float *)arrays[12],                                                     \
                   {(float *)arrays[13], (float *)arrays[14], (float *)arrays[15]}, {}, nullptr, nullptr, 1,     \
                   (const float *)arrays[16], (const float *)arrays[17]};                                        \
  set::counts(work, threads);
  LATOME_EACH(LATOME_COUNTS)
#undef LATOME_COUNTS
}

// Counts of a background or a foreground; see `Mixture` in mixture.h. `sizes` holds m, g, whether gradients are wanted
// and the form of theta; `arrays` counts, background, foreground, log_theta, theta_rows, mixing, mask, then value and
// the gradients of background, foreground, theta and mixing.
LATOME_EXPORT void latome_mixture(const int64_t *sizes, void *const *arrays, int threads) {
#define LATOME_MIXTURE(set)                                                                                       \
  set::Mixture work{sizes[0], sizes[1], sizes[2] != 0, (const float *)arrays[0], (const float *)arrays[1],       \
                    (const float *)arrays[2], (const float *)arrays[3], sizes[3], (const int64_t *)arrays[4],     \
                    (const float *)arrays[5], (const float *)arrays[6], (float *)arrays[7], (float *)arrays[8],   \
                    (float *)arrays[9], (float *)arrays[10], (float *)arrays[11]};                                \
  set::mixture(work, threads);
  LATOME_EACH(LATOME_MIXTURE)
#undef LATOME_MIXTURE
}

// What is there or not; see `Bernoulli` in bernoulli.h. `sizes` holds m, g and whether gradients are wanted; `arrays`
// indptr, indices, logits, log_cell, log_region, then value and the gradients of logits, cells and regions.
LATOME_EXPORT void latome_bernoulli(const int64_t *sizes, void *const *arrays, int threads) {
#define LATOME_BERNOULLI(set)                                                                                    \
  set::Bernoulli work{sizes[0], sizes[1], sizes[2] != 0, (const int64_t *)arrays[0], (const int64_t *)arrays[1], \
                      (const float *)arrays[2], (const float *)arrays[3], (const float *)arrays[4],              \
                      (float *)arrays[5], (float *)arrays[6], (float *)arrays[7], (float *)arrays[8], nullptr,   \
                      nullptr};                                                                                  \
  set::bernoulli(work, threads);
  LATOME_EACH(LATOME_BERNOULLI)
#undef LATOME_BERNOULLI
}

// -- layers --------------------------------------------------------------------------------------------------------

// out (m, h) = x W + bias; x (m, g) sparse, W (g, h) row by row, bias (h,) or null. indptr may begin beyond zero.
LATOME_EXPORT void latome_sparse_product(int64_t m, int64_t g, int64_t h, const int64_t *indptr, const int64_t *indices,
                                         const float *values, const float *weight, const float *bias, float *out,
                                         int threads) {
  LATOME_CALL(sparse_product, m, g, h, indptr, indices, values, weight, bias, out, threads);
}

// out (g, h) = x^T upstream, upstream (m, h).
LATOME_EXPORT void latome_sparse_gradient(int64_t m, int64_t g, int64_t h, const int64_t *indptr,
                                          const int64_t *indices, const float *values, const float *upstream, float *out, int threads) {
  LATOME_CALL(sparse_gradient, m, g, h, indptr, indices, values, upstream, out, threads);
}

// What follows a linear layer; see `Block` in layers.h. `sizes` holds m, h, the number of tables, the stride of the
// codes, the kind of norm and the seed; `numbers` momentum, eps and the share of units kept; `arrays` y, hat, out,
// scale, shift, running mean, running variance, count of minibatches, inverse sd, then each table and then each table's codes.
LATOME_EXPORT void latome_block(const int64_t *sizes, const float *numbers, void *const *arrays, int threads) {
  void *const *tables = arrays + 9;
#define LATOME_BLOCK(set)                                                                                       \
  set::Block work{sizes[0], sizes[1], (float *)arrays[0], (float *)arrays[1], (float *)arrays[2], sizes[2],    \
                  (const float *const *)tables, (const int64_t *const *)(tables + sizes[2]), sizes[3], sizes[4], \
                  (const float *)arrays[3], (const float *)arrays[4], (float *)arrays[5], (float *)arrays[6],   \
                  (int64_t *)arrays[7], (float *)arrays[8], numbers[0], numbers[1], numbers[2], sizes[5]};      \
  set::block_forward(work, threads);
  LATOME_EACH(LATOME_BLOCK)
#undef LATOME_BLOCK
}

// Its reverse; see `BlockGradient` in layers.h. `sizes` as above; `arrays` upstream, hat, out, pull, scale, inverse sd,
// the gradients of bias, scale and shift, then each table's gradient (zeroed) and then each table's codes.
LATOME_EXPORT void latome_block_gradient(const int64_t *sizes, const float *numbers, void *const *arrays, int threads) {
  void *const *tables = arrays + 9;
#define LATOME_BLOCK(set)                                                                                         \
  set::BlockGradient work{sizes[0], sizes[1], (const float *)arrays[0], (const float *)arrays[1],                 \
                          (const float *)arrays[2], (float *)arrays[3], sizes[2], (float *const *)tables,         \
                          (const int64_t *const *)(tables + sizes[2]), sizes[3], sizes[4],                        \
                          (const float *)arrays[4], (const float *)arrays[5], (float *)arrays[6],                 \
                          (float *)arrays[7], (float *)arrays[8], numbers[2]};                                    \
  set::block_backward(work, threads);
  LATOME_EACH(LATOME_BLOCK)
#undef LATOME_BLOCK
}

// out (m, k) = x W' + bias; x (m, h), W (k, h). Runs on the caller's thread.
LATOME_EXPORT void latome_narrow(int64_t m, int64_t h, int64_t k, const float *x, const float *weight,
                                 const float *bias, float *out) {
  LATOME_CALL(narrow_product, m, h, k, x, weight, bias, out);
}

// Its reverse: adds to of_x (m, h), sets of_weight (k, h) and of_bias (k,); null where not wanted.
LATOME_EXPORT void latome_narrow_gradient(int64_t m, int64_t h, int64_t k, const float *pull, const float *x,
                                          const float *weight, float *of_x, float *of_weight, float *of_bias) {
  LATOME_CALL(narrow_gradient, m, h, k, pull, x, weight, of_x, of_weight, of_bias);
}

// Products of an output layer by the sgemm_ that is handed in: 0, out (m, g) = a b' of a (m, h) and b (g, h); 1,
// out (m, h) = a b of a (m, g) and b (g, h); 2, out (g, h) = a' b of a (m, g) and b (m, h). All row by row.
LATOME_EXPORT void latome_product(int kind, void *gemm, int64_t m, int64_t g, int64_t h, const float *a, const float *b,
                                  float *out, int threads) {
  latome_products::Product work{(latome_gemm)gemm, (int)m, (int)g, (int)h, a, b, out};
  latome_products::share_out(kind, work, threads);
}

// -- latents -------------------------------------------------------------------------------------------------------

// z (m, k), and the divergence (m,) of each row's normal; all of mean, variance and noise (m, k).
LATOME_EXPORT void latome_draw(int64_t m, int64_t k, const float *mean, const float *variance, const float *noise,
                               float *z, float *divergence) {
#define LATOME_LATENTS(set) set::draw_latents(set::Latents{m, k, mean, variance, noise}, z, divergence);
  LATOME_EACH(LATOME_LATENTS)
#undef LATOME_LATENTS
}

// Its reverse, from the derivatives by z (m, k) and by the divergence (m,).
LATOME_EXPORT void latome_draw_gradient(int64_t m, int64_t k, const float *mean, const float *variance,
                                        const float *noise, const float *by_z, const float *by_divergence,
                                        float *by_mean, float *by_variance) {
#define LATOME_LATENTS(set) \
  set::latents_gradient(set::Latents{m, k, mean, variance, noise}, by_z, by_divergence, by_mean, by_variance);
  LATOME_EACH(LATOME_LATENTS)
#undef LATOME_LATENTS
}

// -- Adam ----------------------------------------------------------------------------------------------------------

// One step; `numbers` holds the rate over its bias correction, 1 - beta1, beta2, 1 - beta2, eps, L2 penalty, the factor
// that shrinks the weights first, and 1 / sqrt of the second moment's bias correction.
LATOME_EXPORT void latome_adam(int64_t n_parts, void *const *weights, void *const *gradients, const int64_t *starts,
                               const int64_t *sizes, float *first, float *second, const float *numbers, int threads) {
#define LATOME_ADAM(set)                                                                                           \
  set::AdamStep work{n_parts, (float *const *)weights, (const float *const *)gradients, starts, sizes, first,      \
                     second, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6],   \
                     numbers[7], 1};                                                                               \
  set::adam_step(work, threads);
  LATOME_EACH(LATOME_ADAM)
#undef LATOME_ADAM
}

// -- changes -------------------------------------------------------------------------------------------------------

// Log fold changes of g genes; see `Changes` in changes.h. `sizes` holds g, n, the strides of the samples and the number
// of intervals, then their widths; `numbers` the two shifts and the threshold; `arrays` both sets of samples, scratch.
LATOME_EXPORT void latome_changes(const int64_t *sizes, const float *numbers, void *const *arrays, double *found,
                                  int threads) {
#define LATOME_CHANGES(set)                                                                                     \
  set::Changes work{sizes[1], (const float *)arrays[0], (const float *)arrays[1], sizes[2], sizes[3], numbers[0], \
                    numbers[1], numbers[2], sizes[4], sizes + 5, (float *)arrays[2], found};                      \
  set::changes(work, sizes[0], threads);
  LATOME_EACH(LATOME_CHANGES)
#undef LATOME_CHANGES
}
