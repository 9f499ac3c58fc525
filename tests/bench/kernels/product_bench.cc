// Products against their limits: memory bandwidth for a few rows, oneDNN for many.
// Ratios within one run are worth more than absolute numbers. On a machine that is not quiet:
//   bench_product --benchmark_repetitions=9 --benchmark_min_time=0.05
//                 --benchmark_enable_random_interleaving=true
// The tables take the best repetition of each.
#include "bench/kernels/product_bench.h"

#include <cstring>
#include <random>

#include "base/dtype.h"
#include "benchmark/benchmark.h"

namespace pamir::bench {

std::vector<float> Inputs(int64_t count, double active) {
  std::mt19937 rng(7);
  std::normal_distribution<float> normal;
  std::bernoulli_distribution keep(active);
  std::vector<float> x(count);
  for (float& v : x) v = keep(rng) ? normal(rng) : 0.0f;
  return x;
}

Aligned<uint16_t> Weights(int64_t count) {
  constexpr int64_t kPattern = 32 * 1024;
  const std::vector<float> values = Inputs(kPattern, 1);
  std::vector<uint16_t> pattern(kPattern);
  for (int64_t i = 0; i < kPattern; ++i) pattern[i] = FloatToHalf(values[i] * 0.02f);
  Aligned<uint16_t> w = Allocate<uint16_t>(count);
  for (int64_t i = 0; i < count; i += kPattern) {
    std::memcpy(w.get() + i, pattern.data(), std::min(kPattern, count - i) * sizeof(uint16_t));
  }
  return w;
}

}  // namespace pamir::bench

constexpr int64_t kReadBytes = int64_t{512} << 20;

int main(int argc, char** argv) {
  setenv("OMP_NUM_THREADS", std::to_string(pamir::bench::kThreads).c_str(), 0);
  benchmark::Initialize(&argc, argv);
  pamir::ThreadPool pool(pamir::bench::kThreads);
  const auto weights = pamir::bench::Weights(pamir::bench::DecodeWeights());
  pamir::bench::RegisterMemory(&pool, weights.get(), kReadBytes);
  pamir::bench::RegisterDecode(&pool, weights.get());
  pamir::bench::RegisterPrefill(&pool);
  pamir::bench::BestRates rates;
  benchmark::RunSpecifiedBenchmarks(&rates);
  pamir::bench::PrintMemory(rates);
  pamir::bench::PrintDecode(rates);
  pamir::bench::PrintPrefill(rates);
  return 0;
}
