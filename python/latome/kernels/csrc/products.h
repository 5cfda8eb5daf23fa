// Dense products shared out over the threads: their library's own way of sharing those of few rows and many columns
// takes up to half as long again. The library's sgemm_ is handed in; within a thread it works alone.
#pragma once

typedef void (*latome_gemm)(const char *, const char *, const int *, const int *, const int *, const float *,
                            const float *, const int *, const float *, const int *, const float *, float *,
                            const int *);

namespace latome_products {

constexpr int64_t WIDTH = 16;          // columns of a cache line

struct Product {
  latome_gemm gemm;
  int m, g, h;
  const float *a, *b;
  float *out;

  // sgemm_ counts by columns: out' = first' second'.
  void run(const char *flip_first, const char *flip_second, int n, int rows, int inner, const float *first, int stride1,
           const float *second, int stride2, float *to, int stride) const {
    const float one = 1.0f, zero = 0.0f;
    gemm(flip_first, flip_second, &n, &rows, &inner, &one, first, &stride1, second, &stride2, &zero, to, &stride);
  }
};

// out (m, g) = a (m, h) b (g, h)', for strips begin to end of its columns.
inline void forward_strips(void *context, int64_t begin, int64_t end) {
  const Product &p = *static_cast<Product *>(context);
  const int first = (int)(begin * WIDTH), last = end * WIDTH < p.g ? (int)(end * WIDTH) : p.g;
  p.run("T", "N", last - first, p.m, p.h, p.b + (int64_t)first * p.h, p.h, p.a, p.h, p.out + first, p.g);
}

// out (m, h) = a (m, g) b (g, h), for rows begin to end.
inline void input_rows(void *context, int64_t begin, int64_t end) {
  const Product &p = *static_cast<Product *>(context);
  p.run("N", "N", p.h, (int)(end - begin), p.g, p.b, p.h, p.a + begin * p.g, p.g, p.out + begin * p.h, p.h);
}

// out (g, h) = a (m, g)' b (m, h), for strips begin to end of its rows.
inline void weight_strips(void *context, int64_t begin, int64_t end) {
  const Product &p = *static_cast<Product *>(context);
  const int first = (int)(begin * WIDTH), last = end * WIDTH < p.g ? (int)(end * WIDTH) : p.g;
  p.run("N", "T", p.h, last - first, p.m, p.b, p.h, p.a + first, p.g, p.out + (int64_t)first * p.h, p.h);
}

inline void share_out(int kind, Product &work, int threads) {
  const int64_t strips = (work.g + WIDTH - 1) / WIDTH;
  if (kind == 0) latome_parallel(forward_strips, &work, strips, threads);
  if (kind == 1) latome_parallel(input_rows, &work, work.m, threads);
  if (kind == 2) latome_parallel(weight_strips, &work, strips, threads);
}

}  // namespace latome_products
