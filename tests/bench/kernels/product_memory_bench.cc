// How fast this machine reads weights (512 MB) with two threads, each with four far-apart streams.
#include <cstdio>

#include "bench/kernels/product_bench.h"

namespace pamir::bench {
namespace {

constexpr int kStreams = 4;
constexpr int kAhead = 2048;  // bytes

// may_alias: the memory holds weights.
typedef uint64_t Lane __attribute__((vector_size(16), may_alias));

// Sums four equal stretches side by side, one cache line of each in turn.
template <bool kPrefetch>
uint64_t ReadStreams(const Lane* data, int64_t lanes) {
  const int64_t stretch = lanes / kStreams;
  Lane sums[kStreams] = {};
  for (int64_t i = 0; i < stretch; i += 4) {
    for (int s = 0; s < kStreams; ++s) {
      const Lane* line = data + s * stretch + i;
      if (kPrefetch) __builtin_prefetch(reinterpret_cast<const char*>(line) + kAhead);
      sums[s] += (line[0] + line[1]) + (line[2] + line[3]);
    }
  }
  const Lane sum = sums[0] + sums[1] + sums[2] + sums[3];
  return sum[0] + sum[1];
}

template <bool kPrefetch>
void ReadMemory(benchmark::State& state, ThreadPool* pool, const void* data, int64_t bytes) {
  const int64_t mine = bytes / static_cast<int64_t>(sizeof(Lane)) / kThreads;
  for (auto _ : state) {
    pool->ParallelFor(kThreads, [&](int p) {
      benchmark::DoNotOptimize(
          ReadStreams<kPrefetch>(static_cast<const Lane*>(data) + p * mine, mine));
    });
  }
  state.counters["rate"] =
      benchmark::Counter(static_cast<double>(bytes), benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

void RegisterMemory(ThreadPool* pool, const void* data, int64_t bytes) {
  benchmark::RegisterBenchmark("memory/read", ReadMemory<false>, pool, data, bytes)->UseRealTime();
  benchmark::RegisterBenchmark("memory/read_ahead", ReadMemory<true>, pool, data, bytes)
      ->UseRealTime();
}

double MemoryLimit(const BestRates& rates) {
  return std::max(rates.Of("memory/read"), rates.Of("memory/read_ahead"));
}

void PrintMemory(const BestRates& rates) {
  std::printf("\nread limit, four streams a thread, %d threads: %.1f GB/s (plain %.1f)\n", kThreads,
              MemoryLimit(rates) / 1e9, rates.Of("memory/read") / 1e9);
}

}  // namespace pamir::bench
