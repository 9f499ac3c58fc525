// The families of product benchmarks; product_bench.cc runs them and prints the table.
#ifndef PAMIR_TESTS_BENCH_KERNELS_PRODUCT_BENCH_H_
#define PAMIR_TESTS_BENCH_KERNELS_PRODUCT_BENCH_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "bench/kernels/bench_table.h"

namespace pamir::bench {

inline constexpr int kThreads = 2;

struct FreeBytes {
  void operator()(void* p) const { std::free(p); }
};
template <typename T>
using Aligned = std::unique_ptr<T[], FreeBytes>;

template <typename T>
Aligned<T> Allocate(int64_t count) {
  const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
  return Aligned<T>(static_cast<T*>(std::aligned_alloc(64, bytes)));
}

// Inputs of which the share `active` is not zero, the same on every run.
std::vector<float> Inputs(int64_t count, double active);
// fp16 weights: finite, of no meaning.
Aligned<uint16_t> Weights(int64_t count);

// The fastest way found to read memory: the limit of decoding.
// `bytes` of `data`, a multiple of 1 kB, are read.
void RegisterMemory(ThreadPool* pool, const void* data, int64_t bytes);
void PrintMemory(const BestRates& rates);

// Products of OPT-1.3B's shapes over 24 layers of distinct weights.
// The shapes share one array of DecodeWeights() elements.
int64_t DecodeWeights();
void RegisterDecode(ThreadPool* pool, const uint16_t* weights);
void PrintDecode(const BestRates& rates);

// 512 tokens of OPT-125M's shapes, against oneDNN's fp32 product.
void RegisterPrefill(ThreadPool* pool);
void PrintPrefill(const BestRates& rates);

double MemoryLimit(const BestRates& rates);

}  // namespace pamir::bench

#endif  // PAMIR_TESTS_BENCH_KERNELS_PRODUCT_BENCH_H_
