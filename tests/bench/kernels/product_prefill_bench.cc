// Prefill: 512 tokens through OPT-125M's shapes, and oneDNN's fp32 product of the same shapes.
// oneDNN gets fp32 weights in whatever order it likes best, laid out before the clock starts; ours
// are fp16 and are converted within the time.
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "bench/kernels/product_bench.h"
#include "dnnl.hpp"
#include "kernels/product/product.h"

namespace pamir::bench {
namespace {

using kernels::WeightLayout;

constexpr int64_t kTokens = 512;

struct Shape {
  WeightLayout layout;
  int64_t in, out;
  double active;
};

const Shape kShapes[] = {
    {WeightLayout::kPanels, 768, 2304, 1},    {WeightLayout::kPanels, 768, 768, 1},
    {WeightLayout::kPanels, 768, 3072, 1},    {WeightLayout::kNeurons, 3072, 768, 1},
    {WeightLayout::kNeurons, 3072, 768, 0.5}, {WeightLayout::kNeurons, 3072, 768, 0.05},
};

std::string SizeOf(const Shape& s) { return absl::StrCat(s.in, "x", s.out); }
std::string OursName(const Shape& s) {
  return absl::StrCat("prefill/", SizeOf(s), "/active:", s.active);
}
std::string YardstickName(const Shape& s) { return absl::StrCat("onednn/", SizeOf(s)); }

benchmark::Counter Rate(const Shape& s) {
  return benchmark::Counter(2.0 * kTokens * static_cast<double>(s.in * s.out),
                            benchmark::Counter::kIsIterationInvariantRate);
}

void Ours(benchmark::State& state, ThreadPool* pool, const Shape& s) {
  const Aligned<uint16_t> weights = Weights(s.in * s.out);
  const std::vector<float> x = Inputs(kTokens * s.in, s.active);
  std::vector<float> y(kTokens * s.out), bias(s.out, 0.5f);
  const Aligned<char> scratch =
      Allocate<char>(kernels::ProductScratchBytes(kTokens, s.in, s.out, kThreads));
  KernelContext context;
  context.backend = Backend::kCpu;
  context.pool = pool;
  kernels::ProductArgs a;
  a.x = x.data();
  a.rows = kTokens;
  a.x_stride = s.in;
  a.w = {weights.get(), DType::kFloat16, s.layout, s.out, s.in};
  a.bias = bias.data();
  a.y = y.data();
  a.y_stride = s.out;
  a.scratch = scratch.get();
  for (auto _ : state) kernels::Product(context, a);
  state.counters["rate"] = Rate(s);
}

void OneDnn(benchmark::State& state, const Shape& s) {
  using dnnl::memory;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto any = memory::format_tag::any;
  const auto rows = memory::format_tag::ab;
  const auto f32 = memory::data_type::f32;
  const memory::desc x({kTokens, s.in}, f32, rows), w({s.in, s.out}, f32, any);
  const memory::desc bias({1, s.out}, f32, rows), y({kTokens, s.out}, f32, rows);
  const dnnl::matmul::desc what(x, w, bias, y);
  const dnnl::matmul::primitive_desc how(what, engine);
  const dnnl::matmul product(how);
  std::vector<float> x_data = Inputs(kTokens * s.in, s.active);
  std::vector<float> w_data = Inputs(s.in * s.out, 1);
  std::vector<float> bias_data(s.out, 0.5f), y_data(kTokens * s.out);
  memory plain({{s.in, s.out}, f32, rows}, engine, w_data.data());
  memory best(how.weights_desc(), engine);
  dnnl::reorder(plain, best).execute(stream, plain, best);
  memory xm(x, engine, x_data.data()), bm(bias, engine, bias_data.data());
  memory ym(y, engine, y_data.data());
  for (auto _ : state) {
    product.execute(
        stream,
        {{DNNL_ARG_SRC, xm}, {DNNL_ARG_WEIGHTS, best}, {DNNL_ARG_BIAS, bm}, {DNNL_ARG_DST, ym}});
    stream.wait();
  }
  state.counters["rate"] = Rate(s);
}

}  // namespace

void RegisterPrefill(ThreadPool* pool) {
  for (const Shape& s : kShapes) {
    benchmark::RegisterBenchmark(OursName(s).c_str(), Ours, pool, s)->UseRealTime();
    if (s.active != 1) continue;
    benchmark::RegisterBenchmark(YardstickName(s).c_str(), OneDnn, s)->UseRealTime();
  }
}

void PrintPrefill(const BestRates& rates) {
  std::printf("\nprefill, %d tokens, OPT-125M: dense operations over time\n",
              static_cast<int>(kTokens));
  std::printf("%-24s%12s%12s%10s\n", "in x out", "GFLOP/s", "oneDNN", "ratio");
  for (const Shape& s : kShapes) {
    const double ours = rates.Of(OursName(s)), judge = rates.Of(YardstickName(s));
    std::printf("%-24s%12.1f%12.1f%10.2f\n", absl::StrCat(SizeOf(s), " active ", s.active).c_str(),
                ours / 1e9, judge / 1e9, ours / std::max(1.0, judge));
  }
}

}  // namespace pamir::bench
