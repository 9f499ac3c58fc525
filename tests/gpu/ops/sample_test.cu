#include <cmath>
#include <limits>

#include "kernels/sample/sample_cuda.h"
#include "ops/ops_test.cuh"

namespace pamir::gpu_test {
namespace {

using kernels::SampleRow;

struct Draws {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
};

struct Batch {
  std::string name;
  int vocab;
  std::vector<float> logits;  // [rows][vocab]
  std::vector<SampleRow> params;
  int rows() const { return static_cast<int>(params.size()); }
};

Draws OnGpu(const Batch& b, int first, int rows) {
  const Buffer<float> logits(
      std::vector<float>(b.logits.begin() + static_cast<int64_t>(first) * b.vocab,
                         b.logits.begin() + static_cast<int64_t>(first + rows) * b.vocab));
  const Buffer<SampleRow> params(
      std::vector<SampleRow>(b.params.begin() + first, b.params.begin() + first + rows));
  Buffer<int32_t> tokens(rows);
  Buffer<float> logprobs(rows);
  kernels::SampleCudaArgs args;
  args.logits = logits.get(), args.rows = rows, args.stride = args.vocab = b.vocab;
  args.params = params.get(), args.tokens = tokens.get(), args.logprobs = logprobs.get();
  CUDA_CHECK(kernels::SampleCuda(args, {}));
  return {tokens.Get(), logprobs.Get()};
}

Draws OnCpu(const Batch& b) {
  Draws draws = {std::vector<int32_t>(b.rows()), std::vector<float>(b.rows())};
  kernels::SampleArgs args;
  args.logits = b.logits.data(), args.rows = b.rows(), args.stride = args.vocab = b.vocab;
  args.params = b.params.data(), args.tokens = draws.tokens.data();
  args.logprobs = draws.logprobs.data();
  kernels::SampleReference(args);
  return draws;
}

// All kinds of parameters, in turn.
SampleRow ParamsOf(int row) {
  const float temperatures[] = {1.0f, 0.7f, 1.5f, 0.0f, 0.1f};
  const int top_ks[] = {0, 40, 1, 0, 1000, 5};
  const float top_ps[] = {1.0f, 0.9f, 0.5f, 0.95f, 1e-6f, 0.999f, 1.0f};
  return {temperatures[row % 5],
          top_ks[row % 6],
          top_ps[row % 7],
          0x123456789abcdefULL * (row + 1),
          static_cast<uint32_t>(row % 3),
          static_cast<uint64_t>(row) * 17};
}

Batch Normal(const std::string& name, int rows, int vocab, float spread, uint32_t seed) {
  Batch b = {name, vocab, {}, {}};
  Random random(seed);
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < vocab; ++i) b.logits.push_back(random.Normal() * spread);
    b.params.push_back(ParamsOf(r + static_cast<int>(seed)));
  }
  return b;
}

// Few distinct values, NaNs and infinities: ties at every cut.
Batch Ties(int rows, int vocab) {
  Batch b = Normal("ties, NaN, -inf, -0", rows, vocab, 1, 99);
  Random random(3);
  for (float& x : b.logits) {
    x = std::round(x * 2) / 2;
    if (random.Below(50) == 0) x = -std::numeric_limits<float>::infinity();
    if (random.Below(50) == 0) x = std::numeric_limits<float>::quiet_NaN();
    if (random.Below(50) == 0) x = -0.0f;
  }
  return b;
}

void CheckBatch(Verdicts& verdicts, Batch b) {
  const Draws expected = OnCpu(b), got = OnGpu(b, 0, b.rows());
  double tokens = 0, error = 0, company = 0;
  for (int r = 0; r < b.rows(); ++r) {
    tokens += expected.tokens[r] != got.tokens[r];
    if (expected.tokens[r] != got.tokens[r]) {
      const SampleRow& p = b.params[r];
      std::printf("  row %d: %d instead of %d (temperature %g, top_k %d, top_p %g)\n", r,
                  got.tokens[r], expected.tokens[r], p.temperature, p.top_k, p.top_p);
      continue;
    }
    const double difference = std::fabs(expected.logprobs[r] - got.logprobs[r]);
    if (!(difference <= error)) error = difference;
  }
  for (const int row : {0, b.rows() - 1}) {
    const Draws alone = OnGpu(b, row, 1);
    company += alone.tokens[0] != got.tokens[row] || alone.logprobs[0] != got.logprobs[row];
  }
  const std::string name = "sampling, " + b.name + ", " + std::to_string(b.rows()) + " rows of " +
                           std::to_string(b.vocab) + ": ";
  verdicts.Row(name + "tokens that differ", tokens, 0);
  verdicts.Row(name + "log-probability", error, 4e-6);
  verdicts.Row(name + "bits, a row alone and in company", company, 0);
  for (SampleRow& p : b.params) p.seed += 1;
  const Draws other = OnGpu(b, 0, b.rows());
  double same_draws = 0;
  for (int r = 0; r < b.rows(); ++r) same_draws += expected.tokens[r] != other.tokens[r];
  if (b.rows() > 20) verdicts.Row(name + "another seed", same_draws, 0, false);
}

// Log-probabilities of given tokens; the broken twin looks at the next row's.
void CheckLogprobs(Verdicts& verdicts, const Batch& b) {
  Random random(21);
  std::vector<int32_t> ids;
  for (int r = 0; r < b.rows(); ++r) ids.push_back(random.Below(b.vocab));
  std::vector<float> expected(b.rows());
  kernels::TokenLogprobsReference(
      {b.logits.data(), b.rows(), b.vocab, b.vocab, ids.data(), expected.data()});
  const Buffer<float> logits(b.logits);
  const Buffer<int32_t> ids_gpu(ids);
  Buffer<float> got_gpu(b.rows());
  kernels::LogprobCudaArgs args;
  args.logits = logits.get(), args.rows = b.rows(), args.stride = args.vocab = b.vocab;
  args.tokens = ids_gpu.get(), args.logprobs = got_gpu.get();
  CUDA_CHECK(kernels::TokenLogprobsCuda(args, {}));
  const std::vector<float> got = got_gpu.Get();
  double error = 0, twin = 0;
  for (int r = 0; r < b.rows(); ++r) {
    const double difference = std::fabs(expected[r] - got[r]);
    if (!(difference <= error)) error = difference;
    twin = std::max<double>(twin, std::fabs(expected[(r + 1) % b.rows()] - got[r]));
  }
  const std::string name = "log-probabilities, " + std::to_string(b.rows()) + " rows of " +
                           std::to_string(b.vocab) + ": ";
  verdicts.Row(name + "error", error, 4e-6);
  verdicts.Row(name + "of the next row", twin, 4e-6, false);
}

}  // namespace

void CheckSample(Verdicts& verdicts, bool tiny) {
  CheckBatch(verdicts, Normal("tiny", tiny ? 24 : 128, 7, 1, 5));
  CheckBatch(verdicts, Normal("one id", 3, 1, 1, 6));
  CheckBatch(verdicts, Normal("small", tiny ? 24 : 128, 300, 2, 10));
  CheckBatch(verdicts, Ties(tiny ? 24 : 128, 257));
  CheckLogprobs(verdicts, Normal("small", 9, 300, 2, 11));
  if (tiny) return;
  CheckBatch(verdicts, Normal("broad", 128, 50272, 1, 1));
  CheckBatch(verdicts, Normal("like a model's", 128, 50272, 2.5f, 2));
  CheckBatch(verdicts, Normal("unpadded", 64, 50265, 2.5f, 12));
  CheckBatch(verdicts, Normal("peaked", 64, 50272, 8, 3));
  CheckBatch(verdicts, Normal("large vocabulary", 8, 53248, 2, 4));
  CheckBatch(verdicts, Normal("odd", 128, 1003, 2, 7));
  CheckBatch(verdicts, Ties(128, 50272));
  CheckLogprobs(verdicts, Normal("like a model's", 16, 50265, 2.5f, 13));
}

void TimeSample() {
  struct Kind {
    const char* name;
    SampleRow row;
  };
  const Kind kinds[] = {{"greedy", {0, 0, 1, 1, 0, 1}},
                        {"temperature", {1, 0, 1, 1, 0, 1}},
                        {"top-k 40", {1, 40, 1, 1, 0, 1}},
                        {"top-p 0.9", {1, 0, 0.9f, 1, 0, 1}},
                        {"top-k 40, top-p 0.9", {1, 40, 0.9f, 1, 0, 1}}};
  for (const int rows : {1, 32, 128}) {
    const Batch b = Normal("", rows, 50272, 2.5f, 8);
    const Buffer<float> logits(b.logits);
    Buffer<int32_t> tokens(rows);
    Buffer<float> logprobs(rows);
    for (const Kind& kind : kinds) {
      const Buffer<SampleRow> params(std::vector<SampleRow>(rows, kind.row));
      kernels::SampleCudaArgs args;
      args.logits = logits.get(), args.rows = rows, args.stride = args.vocab = b.vocab;
      args.params = params.get(), args.tokens = tokens.get(), args.logprobs = logprobs.get();
      const double ms = TimeGraph([&](StreamRef stream) {
        for (int i = 0; i < 10; ++i) CUDA_CHECK(kernels::SampleCuda(args, stream));
      });
      std::printf("sample %3d rows, %-20s: %6.2f us\n", rows, kind.name, ms * 100);
    }
  }
}

}  // namespace pamir::gpu_test
