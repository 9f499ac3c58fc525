// Decoding: every product of OPT-1.3B, 24 layers of distinct weights so that caches do not help.
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/kernels/product_bench.h"
#include "kernels/product/product.h"

namespace pamir::bench {
namespace {

using kernels::Matrix;
using kernels::WeightLayout;

struct Shape {
  const char* name;
  WeightLayout layout;
  int64_t out, in;
  int64_t copies;  // distinct matrices in turn
  double active;
};

const Shape kShapes[] = {
    {"qkv", WeightLayout::kPanels, 6144, 2048, 24, 1},
    {"out", WeightLayout::kPanels, 2048, 2048, 24, 1},
    {"fc1", WeightLayout::kPanels, 8192, 2048, 24, 1},
    {"fc2", WeightLayout::kNeurons, 2048, 8192, 24, 1},
    {"fc2", WeightLayout::kNeurons, 2048, 8192, 24, 0.5},
    {"fc2", WeightLayout::kNeurons, 2048, 8192, 24, 0.05},
    {"head", WeightLayout::kPanels, 50272, 2048, 2, 1},
};
const int64_t kRows[] = {1, 2, 4, 8, 16, 32};

std::string NameOf(const Shape& s, int64_t rows) {
  return absl::StrCat("decode/", s.name, "/active:", s.active, "/rows:", rows);
}

// Inputs that are not zero in all rows: their weights must be read.
int64_t InputsMet(const Shape& s, int64_t rows, const std::vector<float>& x) {
  int64_t met = 0;
  for (int64_t k = 0; k < s.in; ++k) {
    bool any = s.layout == WeightLayout::kPanels;
    for (int64_t r = 0; r < rows; ++r) any |= x[r * s.in + k] != 0;
    met += any;
  }
  return met;
}

int64_t WeightsOf(const Shape& s) {
  return kernels::PackedBytes(s.layout, DType::kFloat16, s.out, s.in) / 2;
}

void Decode(benchmark::State& state, ThreadPool* pool, const uint16_t* weights, const Shape& s,
            int64_t rows) {
  const std::vector<float> x = Inputs(rows * s.in, s.active);
  std::vector<float> y(rows * s.out), bias(s.out, 0.5f);
  const int64_t scratch_bytes = kernels::ProductScratchBytes(rows, s.in, s.out, kThreads);
  const Aligned<char> scratch = Allocate<char>(scratch_bytes);
  KernelContext context;
  context.backend = Backend::kCpu;
  context.pool = pool;
  kernels::ProductArgs a;
  a.x = x.data();
  a.rows = rows;
  a.x_stride = s.in;
  a.bias = bias.data();
  a.y = y.data();
  a.y_stride = s.out;
  a.scratch = scratch.get();
  int64_t turn = 0;
  for (auto _ : state) {
    const uint16_t* w = weights + turn++ % s.copies * WeightsOf(s);
    a.w = {w, DType::kFloat16, s.layout, s.out, s.in};
    kernels::Product(context, a);
  }
  const int64_t met = InputsMet(s, rows, x);
  state.counters["rate"] = benchmark::Counter(static_cast<double>(met * s.out * 2),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

int64_t DecodeWeights() {
  int64_t most = 0;
  for (const Shape& s : kShapes) most = std::max(most, WeightsOf(s) * s.copies);
  return most;
}

void RegisterDecode(ThreadPool* pool, const uint16_t* weights) {
  for (const Shape& s : kShapes) {
    for (const int64_t rows : kRows) {
      benchmark::RegisterBenchmark(NameOf(s, rows).c_str(), Decode, pool, weights, s, rows)
          ->UseRealTime();
    }
  }
}

void PrintDecode(const BestRates& rates) {
  std::printf(
      "\ndecode, OPT-1.3B: bytes of weights that must be read, over time, over the limit\n");
  std::printf("%-18s", "rows");
  for (const int64_t rows : kRows) std::printf("%8d", static_cast<int>(rows));
  std::printf("   GB/s at 1 row\n");
  for (const Shape& s : kShapes) {
    std::printf("%-18s", absl::StrCat(s.name, " active ", s.active).c_str());
    for (const int64_t rows : kRows) {
      std::printf("%8.2f", rates.Of(NameOf(s, rows)) / std::max(1.0, MemoryLimit(rates)));
    }
    std::printf("   %.1f\n", rates.Of(NameOf(s, 1)) / 1e9);
  }
}

}  // namespace pamir::bench
