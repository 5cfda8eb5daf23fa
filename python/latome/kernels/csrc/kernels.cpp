// The compiled kernels: one translation unit, in which each body is compiled once per instruction set.
//
// A processor is asked once what it can do; LATOME_KERNELS = portable, avx2 or avx512 asks for less. The bodies are
// plain C over vectors of LANES floats and instantiate no template of the standard library, whose code would
// otherwise be shared between instruction sets.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "parallel.h"
#include "products.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define LATOME_X86 1
#include <immintrin.h>
#endif

#if defined(_WIN32)
#define LATOME_EXPORT extern "C" __declspec(dllexport)
#else
#define LATOME_EXPORT extern "C" __attribute__((visibility("default")))
#endif

#define LANES 4
namespace portable {
#include "bodies.h"
}
#undef LANES

#if LATOME_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LANES 8
namespace avx2 {
#include "bodies.h"
}
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")
#endif
#define LANES 16
namespace avx512 {
#include "bodies.h"
}
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

namespace {

enum Level { PORTABLE, AVX2, AVX512 };

Level best_level() {
#if LATOME_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AVX2;
#endif
  return PORTABLE;
}

Level asked_level() {
  Level best = best_level();
  const char *asked = getenv("LATOME_KERNELS");
  if (!asked) return best;
  if (!strcmp(asked, "portable")) return PORTABLE;
  if (!strcmp(asked, "avx2") && best > AVX2) return AVX2;
  return best;
}

Level level() {
  static const Level one = asked_level();
  return one;
}

}  // namespace

// Calls a body of the instruction set in use.
#if LATOME_X86
#define LATOME_CALL(body, ...)                                              \
  (level() == AVX512 ? avx512::body(__VA_ARGS__)                            \
                     : level() == AVX2 ? avx2::body(__VA_ARGS__) : portable::body(__VA_ARGS__))
#else
#define LATOME_CALL(body, ...) portable::body(__VA_ARGS__)
#endif

// The same for several statements: `what(set)` with the namespace of the instruction set in use.
#if LATOME_X86
#define LATOME_EACH(what)                \
  if (level() == AVX512) {               \
    what(avx512)                         \
  } else if (level() == AVX2) {          \
    what(avx2)                           \
  } else {                               \
    what(portable)                       \
  }
#else
#define LATOME_EACH(what) \
  { what(portable) }
#endif

// Raised whenever an exported function changes.
LATOME_EXPORT int latome_version() { return 3; }

// 0 portable, 1 avx2, 2 avx512.
LATOME_EXPORT int latome_instructions() { return level(); }

// Lets the kernels run on the threads of an OpenMP: the address of its GOMP_parallel, or null for threads of our own.
LATOME_EXPORT void latome_use_team(void *parallel) { latome_pool::team() = (latome_pool::Team)parallel; }

#include "exports.h"
