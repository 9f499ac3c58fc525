// How fast this machine reads 512 MB with two threads, each with four far-apart streams.
#include <cstdio>

#include "bench/kernels/product_bench.h"

namespace pamir::bench {
namespace {

constexpr int64_t kBytes = int64_t{512} << 20;
constexpr int kStreams = 4;
constexpr int kAhead = 2048;  // bytes

typedef uint64_t Lane __attribute__((vector_size(16)));

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
void ReadMemory(benchmark::State& state, ThreadPool* pool) {
  const int64_t lanes = kBytes / static_cast<int64_t>(sizeof(Lane));
  const Aligned<Lane> data = Allocate<Lane>(lanes);
  for (int64_t i = 0; i < lanes; ++i) data[i] = Lane{static_cast<uint64_t>(i), 1};
  for (auto _ : state) {
    pool->ParallelFor(kThreads, [&](int p) {
      const int64_t mine = lanes / kThreads;
      benchmark::DoNotOptimize(ReadStreams<kPrefetch>(data.get() + p * mine, mine));
    });
  }
  state.counters["rate"] = benchmark::Counter(static_cast<double>(kBytes),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

void RegisterMemory(ThreadPool* pool) {
  benchmark::RegisterBenchmark("memory/read", ReadMemory<false>, pool)->UseRealTime();
  benchmark::RegisterBenchmark("memory/read_ahead", ReadMemory<true>, pool)->UseRealTime();
}

double MemoryLimit(const BestRates& rates) {
  return std::max(rates.Of("memory/read"), rates.Of("memory/read_ahead"));
}

void PrintMemory(const BestRates& rates) {
  std::printf("\nread limit, four streams a thread, %d threads: %.1f GB/s (plain %.1f)\n", kThreads,
              MemoryLimit(rates) / 1e9, rates.Of("memory/read") / 1e9);
}

}  // namespace pamir::bench
