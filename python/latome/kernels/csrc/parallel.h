// Ranges of work over a few threads: the team of torch's OpenMP where it has one, else a small pool of our own.
//
// Two sets of threads would spin in each other's way between a product of torch's and a kernel. The pool is made on
// first use and kept. A forked child has none of its threads and works alone; so does a second caller while it is busy.
// Between two calls the threads spin for some microseconds, then sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#if defined(_WIN32)
#include <process.h>
#define latome_process _getpid
#else
#include <unistd.h>
#define latome_process getpid
#endif

typedef void (*latome_body)(void *context, int64_t begin, int64_t end);

namespace latome_pool {

constexpr int MOST_THREADS = 64;
static const long home = latome_process();             // where the library was loaded
constexpr int SPINS = 400;

inline void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Work {
  latome_body body;
  void *context;
  int64_t n;
  int threads;
};

inline void run_part(const Work &work, int part) {
  int64_t begin = work.n * part / work.threads, end = work.n * (part + 1) / work.threads;
  if (begin < end) work.body(work.context, begin, end);
}

// Members that threads write to lie on cache lines of their own.
struct Pool {
  alignas(64) std::atomic<uint64_t> round{0};
  alignas(64) std::atomic<int> unfinished{0};
  alignas(64) std::atomic<int> asleep{0};
  Work work{};
  int size = 0;                      // threads beside the caller's
  std::mutex sleeping, busy;
  std::condition_variable wake;

  void serve(int part, uint64_t seen) {
    for (;;) {
      wait_beyond(seen);
      seen = round.load(std::memory_order_acquire);
      if (part < work.threads) run_part(work, part);
      unfinished.fetch_sub(1, std::memory_order_release);
    }
  }

  void wait_beyond(uint64_t seen) {
    for (int i = 0; i < SPINS; i++) {
      if (round.load(std::memory_order_acquire) != seen) return;
      pause_briefly();
    }
    std::unique_lock<std::mutex> lock(sleeping);
    asleep.fetch_add(1);
    wake.wait(lock, [&] { return round.load(std::memory_order_acquire) != seen; });
    asleep.fetch_sub(1);
  }

  bool grow(int wanted) {
    try {
      for (; size < wanted; size++) {
        std::thread([this, part = size + 1, seen = round.load()] { serve(part, seen); }).detach();
      }
    } catch (...) {                  // the system gives no more threads: fewer will do
      return size > 0;
    }
    return true;
  }

  void run(const Work &asked) {
    work = asked;
    unfinished.store(size, std::memory_order_relaxed);
    round.fetch_add(1);              // sequentially consistent: a thread is either seen asleep or sees this
    if (asleep.load() > 0) {
      std::lock_guard<std::mutex> lock(sleeping);
      wake.notify_all();
    }
    run_part(work, 0);
    while (unfinished.load(std::memory_order_acquire) > 0) pause_briefly();
  }
};

// Never destroyed: its threads live as long as the process.
inline Pool &pool() {
  static Pool *one = new Pool;
  return *one;
}

// GOMP_parallel of an OpenMP that the process holds; null where there is none. Its team may be smaller than asked for.
typedef void (*Team)(void (*body)(void *), void *data, unsigned threads, unsigned flags);
inline Team &team() {
  static Team one = nullptr;
  return one;
}

struct TeamWork {
  Work work;
  std::atomic<int> next{0};
};

inline void team_body(void *data) {
  TeamWork &shared = *static_cast<TeamWork *>(data);
  for (int part; (part = shared.next.fetch_add(1)) < shared.work.threads;) run_part(shared.work, part);
}

}  // namespace latome_pool

// Calls body over contiguous ranges that cover [0, n), on at most `threads` threads; the caller's is one of them.
inline void latome_parallel(latome_body body, void *context, int64_t n, int threads) {
  using namespace latome_pool;
  if (threads > MOST_THREADS) threads = MOST_THREADS;
  if (threads > n) threads = (int)n;
  if (threads <= 1 || latome_process() != home) {
    if (n > 0) body(context, 0, n);
    return;
  }
  Work work{body, context, n, threads};
  if (team()) {
    TeamWork shared;
    shared.work = work;
    team()(team_body, &shared, (unsigned)threads, 0);
    return;
  }
  Pool &all = pool();
  std::unique_lock<std::mutex> alone(all.busy, std::try_to_lock);
  if (!alone.owns_lock() || !all.grow(threads - 1)) {
    body(context, 0, n);
    return;
  }
  if (work.threads > all.size + 1) work.threads = all.size + 1;
  all.run(work);
}
