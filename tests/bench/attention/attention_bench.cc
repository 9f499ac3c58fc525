// Attention, norm and sampling at the sizes of OPT-125M and OPT-6.7B.
#include <cmath>
#include <cstring>
#include <vector>

#include "base/philox.h"
#include "base/units.h"
#include "benchmark/benchmark.h"
#include "kernels/attention/attention.h"
#include "kernels/norm/norm.h"
#include "kernels/sample/sample.h"

namespace pamir {
namespace {

std::vector<float> Random(int64_t count, uint64_t seed, float scale) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = (PhiloxUniform(seed, 0, i) - 0.5f) * scale;
  return values;
}

// `rows` sequences of `context` positions; the last `count` of each are this step's tokens.
struct AttentionData {
  AttentionData(int64_t rows, int64_t context, int64_t count, int64_t heads, int64_t head_dim,
                int threads) {
    const int64_t width = heads * head_dim, blocks = CeilDiv(context, kernels::kKvBlockTokens);
    for (int64_t r = 0; r < rows; ++r) {
      row_start.push_back(static_cast<int32_t>(r * count));
      for (int64_t b = 0; b < blocks; ++b) table.push_back(static_cast<int32_t>(b * rows + r));
      for (int64_t i = 0; i < count; ++i) {
        positions.push_back(static_cast<int32_t>(context - count + i));
      }
    }
    row_start.push_back(static_cast<int32_t>(rows * count));
    qkv = Random(rows * count * 3 * width, 1, 2);
    k = Random(rows * blocks * width * kernels::kKvBlockTokens, 2, 2);
    v = k;
    out.resize(rows * count * width);
    scratch.resize(kernels::AttentionScratchBytes(rows * count, context, heads, head_dim, threads));
    args.qkv = qkv.data();
    args.qkv_stride = 3 * width;
    args.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    args.rows = {rows * count, rows, positions.data(), row_start.data(), table.data(), blocks};
    args.kv = {k.data(), v.data(), DType::kFloat32, rows * blocks, heads, head_dim};
    args.out = out.data();
    args.out_stride = width;
    args.scratch = scratch.data();
  }
  std::vector<int32_t> positions, row_start, table;
  std::vector<float> qkv, k, v, out;
  std::vector<char> scratch;
  kernels::AttentionArgs args;
};

void BM_Decode(benchmark::State& state) {
  const int64_t rows = state.range(0), context = state.range(1), heads = state.range(2),
                head_dim = state.range(3);
  ThreadPool pool(static_cast<int>(state.range(4)));
  AttentionData data(rows, context, 1, heads, head_dim, pool.threads());
  for (auto _ : state) kernels::Attention({Backend::kCpu, &pool, {}}, data.args);
  state.SetBytesProcessed(state.iterations() * rows * context * heads * head_dim * 8);
}
BENCHMARK(BM_Decode)
    ->ArgNames({"rows", "context", "heads", "dim", "threads"})
    ->Args({1, 512, 12, 64, 1})
    ->Args({1, 2048, 12, 64, 1})
    ->Args({1, 2048, 12, 64, 2})
    ->Args({16, 512, 12, 64, 2})
    ->Args({16, 1024, 32, 128, 2});

void BM_Prefill(benchmark::State& state) {
  const int64_t length = state.range(0), heads = state.range(1), head_dim = state.range(2);
  ThreadPool pool(static_cast<int>(state.range(3)));
  AttentionData data(1, length, length, heads, head_dim, pool.threads());
  for (auto _ : state) {
    kernels::WriteKv({Backend::kCpu, &pool, {}}, data.args);
    kernels::Attention({Backend::kCpu, &pool, {}}, data.args);
  }
  const double flops = 2.0 * length * (length + 1) * heads * head_dim;
  state.counters["flops"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_Prefill)
    ->ArgNames({"length", "heads", "dim", "threads"})
    ->Args({512, 12, 64, 1})
    ->Args({512, 12, 64, 2})
    ->Args({2048, 12, 64, 2})
    ->Args({512, 32, 128, 2});

void BM_WriteKv(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(1)));
  AttentionData data(1, state.range(0), state.range(0), 12, 64, pool.threads());
  for (auto _ : state) kernels::WriteKv({Backend::kCpu, &pool, {}}, data.args);
}
BENCHMARK(BM_WriteKv)
    ->ArgNames({"length", "threads"})
    ->Args({1, 1})
    ->Args({512, 1})
    ->Args({512, 2});

void BM_Norm(benchmark::State& state) {
  const int64_t rows = state.range(0), width = state.range(1);
  ThreadPool pool(static_cast<int>(state.range(2)));
  std::vector<float> x = Random(rows * width, 1, 2), delta(x.size()), y(x.size()), one(width, 1);
  const kernels::NormArgs args = {rows, width,      x.data(),   delta.data(), one.data(),
                                  true, one.data(), one.data(), 1e-5f,        y.data()};
  for (auto _ : state) kernels::AddNorm({Backend::kCpu, &pool, {}}, args);
}
BENCHMARK(BM_Norm)
    ->ArgNames({"rows", "width", "threads"})
    ->Args({1, 768, 1})
    ->Args({1, 12288, 1})
    ->Args({512, 768, 2});

void BM_Sample(benchmark::State& state) {
  constexpr int64_t kVocab = 50272;
  ThreadPool pool(1);
  const std::vector<float> logits = Random(kVocab, 3, 20);
  kernels::SampleRow row;
  row.temperature = static_cast<float>(state.range(0)) / 10;
  row.top_k = static_cast<int32_t>(state.range(1));
  row.top_p = static_cast<float>(state.range(2)) / 100;
  int32_t token;
  float logprob;
  std::vector<double> scratch(kernels::SampleScratchBytes(kVocab, 1) / 8 + 1);
  const kernels::SampleArgs args = {logits.data(), 1,      kVocab,   kVocab,
                                    &row,          &token, &logprob, scratch.data()};
  for (auto _ : state) {
    kernels::Sample({Backend::kCpu, &pool, {}}, args);
    ++row.position;
  }
}
BENCHMARK(BM_Sample)
    ->ArgNames({"temperature_x10", "top_k", "top_p_x100"})
    ->Args({0, 0, 100})
    ->Args({10, 0, 100})
    ->Args({10, 50, 100})
    ->Args({10, 0, 90})
    ->Args({7, 50, 90});

}  // namespace
}  // namespace pamir

BENCHMARK_MAIN();
