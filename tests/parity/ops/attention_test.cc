// Attention: the vector code against the reference, the reference against textbook softmax in
// double, and one arithmetic: prefill, chunks and decode, alone or in company, give the same bits.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "parity/ops/attention_cases.h"

namespace pamir::parity {
namespace {

KernelContext Cpu(ThreadPool& pool) { return {Backend::kCpu, &pool, {}}; }

// `portable` is the tolerance without fused multiply-adds; with them it is 0: equal bits.
struct Case {
  int64_t heads;
  int64_t head_dim;
  int64_t length;
  double portable;
  double textbook;
};

constexpr Case kCases[] = {
    {2, 64, 130, 2e-5, 2e-5},  {3, 80, 49, 2e-5, 2e-5}, {1, 128, 70, 2e-5, 2e-5},
    {2, 20, 37, 2e-5, 2e-5},   {3, 16, 33, 2e-5, 2e-5}, {2, 1, 20, 2e-5, 2e-5},
    {1, 96, 17, 2e-5, 2e-5},   {5, 7, 16, 2e-5, 2e-5},  {1, 64, 1, 2e-5, 2e-5},
    {1, 64, 2100, 2e-5, 2e-5},
};

std::string Describe(const Case& c, int64_t target) {
  return absl::StrCat(hwy::TargetName(target), ", ", c.heads, " heads of ", c.head_dim, ", length ",
                      c.length);
}

// Position by position softmax in double, straight from the sequence.
std::vector<float> Textbook(const AttentionShape& shape, const Sequence& sequence) {
  const int64_t width = shape.heads * shape.head_dim;
  std::vector<float> out;
  for (int64_t p = 0; p < sequence.length; ++p) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      const float* q = &sequence.qkv[p * 3 * width + h * shape.head_dim];
      std::vector<double> sums(shape.head_dim), scores(p + 1);
      double mass = 0, max = -1e300;
      for (int64_t j = 0; j <= p; ++j) {
        const float* k = &sequence.qkv[(j * 3 + 1) * width + h * shape.head_dim];
        for (int64_t d = 0; d < shape.head_dim; ++d) scores[j] += double{q[d]} * k[d];
        scores[j] /= std::sqrt(static_cast<double>(shape.head_dim));
        max = std::max(max, scores[j]);
      }
      for (int64_t j = 0; j <= p; ++j) {
        const float* v = &sequence.qkv[(j * 3 + 2) * width + h * shape.head_dim];
        const double weight = std::exp(scores[j] - max);
        mass += weight;
        for (int64_t d = 0; d < shape.head_dim; ++d) sums[d] += weight * v[d];
      }
      for (const double sum : sums) out.push_back(static_cast<float>(sum / mass));
    }
  }
  return out;
}

std::vector<float> Prefill(const KernelContext& context, const AttentionShape& shape,
                           const std::vector<Sequence>& sequences, uint64_t salt) {
  AttentionRun run(shape, sequences, salt);
  run.Run(context, {{0, 0, sequences[0].length}});
  return run.out(0);
}

TEST(AttentionParity, ReferenceIsTextbookAttention) {
  for (const Case& c : kCases) {
    if (c.length > 200) continue;
    const AttentionShape shape{c.heads, c.head_dim};
    const std::vector<Sequence> sequences = {MakeSequence(shape, c.length, 1)};
    const std::vector<float> out = Prefill({}, shape, sequences, 5);
    EXPECT_EQ(CountDifferent(Textbook(shape, sequences[0]), out, c.textbook), 0) << Describe(c, 0);
  }
}

TEST(AttentionParity, EveryTargetIsTheReference) {
  ThreadPool pool(2);
  for (const Case& c : kCases) {
    const AttentionShape shape{c.heads, c.head_dim};
    const std::vector<Sequence> sequences = {MakeSequence(shape, c.length, 2)};
    const std::vector<float> expected = Prefill({}, shape, sequences, 5);
    for (const int64_t target : Targets()) {
      const ForcedTarget forced(target);
      const std::vector<float> out = Prefill(Cpu(pool), shape, sequences, 6);
      EXPECT_EQ(CountDifferent(expected, out, HasFma(target) ? 0 : c.portable), 0)
          << Describe(c, target);
    }
  }
}

TEST(AttentionParity, TheComparisonRejectsOnePositionTooMany) {
  for (const Case& c : kCases) {
    if (c.length < 3) continue;
    const AttentionShape shape{c.heads, c.head_dim};
    const std::vector<Sequence> sequences = {MakeSequence(shape, c.length, 2)};
    AttentionRun run(shape, sequences, 5);
    run.Run({}, {{0, 0, c.length}});
    const std::vector<float> expected = run.out(0);
    run.RunOnePositionTooMany({{0, 0, c.length - 1}});  // all it reads has been written
    EXPECT_GT(CountDifferent(expected, run.out(0), c.portable), 0) << Describe(c, 0);
  }
}

// The comparison of bits must see one changed bit, and a NaN that leaked in.
TEST(AttentionParity, TheComparisonOfBitsIsSharp) {
  std::vector<float> a = {1.0f, 0.0f, 2.0f}, b = a;
  EXPECT_EQ(CountDifferent(a, b, 0), 0);
  b[1] = -0.0f;
  b[2] = std::nextafter(2.0f, 3.0f);
  EXPECT_EQ(CountDifferent(a, b, 0), 2);
  EXPECT_EQ(CountDifferent({NAN}, {NAN}, 0), 1);
  EXPECT_EQ(CountDifferent({NAN}, {NAN}, 1), 1);
}

// How sequence 0 (length n) may be cut into steps; `company` are other sequences' rows in them.
std::vector<Step> Chunks(int64_t length, const std::vector<int64_t>& sizes) {
  std::vector<Step> steps;
  int64_t from = 0;
  for (size_t i = 0; from < length; ++i) {
    const int64_t count = std::min(sizes[i % sizes.size()], length - from);
    steps.push_back({{0, from, count}});
    from += count;
  }
  return steps;
}

TEST(AttentionExactness, ChunksAndDecodeAreThePrefill) {
  for (const int64_t target : Targets()) {
    const ForcedTarget forced(target);
    for (const Case& c : kCases) {
      if (c.length > 200) continue;
      const AttentionShape shape{c.heads, c.head_dim};
      const std::vector<Sequence> sequences = {MakeSequence(shape, c.length, 3)};
      ThreadPool one(1);
      const std::vector<float> expected = Prefill(Cpu(one), shape, sequences, 1);
      for (const std::vector<int64_t>& sizes :
           std::vector<std::vector<int64_t>>{{1}, {2, 3, 5, 7}, {16}, {33, 1, 15}}) {
        for (const int threads : {1, 2, 3}) {
          ThreadPool pool(threads);
          AttentionRun run(shape, sequences, 40 + threads);
          for (const Step& step : Chunks(c.length, sizes)) run.Run(Cpu(pool), step);
          EXPECT_EQ(CountDifferent(expected, run.out(0), 0), 0)
              << Describe(c, target) << ", chunks of " << sizes[0] << "..., " << threads
              << " threads";
        }
      }
    }
  }
}

TEST(AttentionExactness, CompanyChangesNothing) {
  const AttentionShape shape{3, 80};
  ThreadPool one(1), three(3);
  const std::vector<Sequence> sequences = {MakeSequence(shape, 77, 3), MakeSequence(shape, 200, 4),
                                           MakeSequence(shape, 19, 5)};
  const std::vector<float> alone = Prefill(Cpu(one), shape, {sequences[0]}, 1);
  AttentionRun run(shape, sequences, 9);
  run.Run(Cpu(three), {{1, 0, 100}, {0, 0, 30}, {2, 0, 19}});
  run.Run(Cpu(three), {{0, 30, 1}, {1, 100, 1}});
  run.Run(Cpu(three), {{1, 101, 99}, {0, 31, 46}});
  EXPECT_EQ(CountDifferent(alone, run.out(0), 0), 0);
  const std::vector<float> other = Prefill(Cpu(one), shape, {sequences[1]}, 1);
  EXPECT_EQ(CountDifferent(other, run.out(1), 0), 0);
}

// Blocks of a long context in decode: many blocks per query, then the last, partly written one.
TEST(AttentionExactness, LongContextDecodesAsPrefilled) {
  const AttentionShape shape{1, 64};
  ThreadPool pool(2);
  const std::vector<Sequence> sequences = {MakeSequence(shape, 2100, 8)};
  const std::vector<float> expected = Prefill(Cpu(pool), shape, sequences, 1);
  AttentionRun run(shape, sequences, 2);
  run.Run(Cpu(pool), {{0, 0, 2037}});
  for (int64_t p = 2037; p < 2100; ++p) run.Run(Cpu(pool), {{0, p, 1}});
  EXPECT_EQ(CountDifferent(expected, run.out(0), 0), 0);
}

TEST(AttentionExactness, ACopiedBlockIsTheBlock) {
  constexpr int64_t kHeads = 2, kDim = 20, kBlocks = 3;
  std::vector<float> k = Random(kBlocks * kHeads * kDim * 16, 1), v = Random(k.size(), 2);
  const std::vector<float> old_k = k;
  const kernels::KvLayer kv{k.data(), v.data(), DType::kFloat32, kBlocks, kHeads, kDim};
  kernels::CopyKvBlock(kv, 0, 2);
  const int64_t block = kHeads * kDim * 16;
  EXPECT_TRUE(std::equal(k.begin(), k.begin() + block, k.begin() + 2 * block));
  EXPECT_TRUE(std::equal(v.begin(), v.begin() + block, v.begin() + 2 * block));
  EXPECT_TRUE(std::equal(k.begin(), k.begin() + 2 * block, old_k.begin()));
}

// Wrong plans end the process with a reason instead of wrong tokens.
TEST(AttentionDeathTest, BrokenPlansAreNamed) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto gap = [] {
    const std::vector<int32_t> positions = {3, 5}, row_start = {0, 2}, table = {0};
    kernels::AttentionArgs args;
    args.rows = {2, 1, positions.data(), row_start.data(), table.data(), 1};
    args.kv = {nullptr, nullptr, DType::kFloat32, 1, 1, 4};
    kernels::Attention({}, args);
  };
  EXPECT_DEATH(gap(), "row 0 is not a run of positions: 3 .. 5");
  const auto copy = [](int64_t from, int64_t to) {
    std::vector<float> plane(3 * 4 * 16);
    kernels::CopyKvBlock({plane.data(), plane.data(), DType::kFloat32, 3, 1, 4}, from, to);
  };
  EXPECT_DEATH(copy(0, 3), "copy of block 0 to 3 of 3");
  const auto half_cache = [] {
    ThreadPool pool(1);
    kernels::AttentionArgs args;
    args.kv = {nullptr, nullptr, DType::kFloat16, 1, 1, 4};
    kernels::Attention(Cpu(pool), args);
  };
  EXPECT_DEATH(half_cache(), "cache of the CPU back end is float32");
}

}  // namespace
}  // namespace pamir::parity
