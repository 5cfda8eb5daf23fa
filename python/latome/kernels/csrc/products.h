// A dense product shared out by columns over the threads: its library's own way of sharing x W' of few rows and many
// columns takes half as long again. The library's sgemm_ is handed in; within a thread it works alone.
#pragma once

typedef void (*latome_gemm)(const char *, const char *, const int *, const int *, const int *, const float *,
                            const float *, const int *, const float *, const int *, const float *, float *,
                            const int *);

namespace latome_products {

constexpr int64_t WIDTH = 16;          // columns of a cache line

struct Product {
  latome_gemm gemm;
  int m, g, h;
  const float *x, *weight;
  float *out;
};

// out (m, g) = x (m, h) weight (g, h)', for strips begin to end of its columns; sgemm_ counts by columns.
inline void product_strips(void *context, int64_t begin, int64_t end) {
  const Product &p = *static_cast<Product *>(context);
  const int first = (int)(begin * WIDTH), last = end * WIDTH < p.g ? (int)(end * WIDTH) : p.g, width = last - first;
  const float one = 1.0f, zero = 0.0f;
  p.gemm("T", "N", &width, &p.m, &p.h, &one, p.weight + (int64_t)first * p.h, &p.h, p.x, &p.h, &zero, p.out + first,
         &p.g);
}

}  // namespace latome_products
