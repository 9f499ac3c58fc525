// The vector sampler against the reference in double: the same tokens, the same log-probabilities.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "parity/ops/sample_cases.h"

namespace pamir::parity {
namespace {

using kernels::SampleRow;

// `logprob` is the absolute tolerance of a log-probability. Tokens must be equal: a draw within
// 1e-6 of a boundary could differ by rounding, and none of these fixed ones is.
struct Case {
  int64_t vocab;
  float scale;  // of the logits
  float temperature;
  int32_t top_k;
  float top_p;
  int64_t draws;
  double logprob;
};

constexpr Case kCases[] = {
    {50272, 8, 0, 0, 1, 3, 1e-5},
    {50272, 8, 1, 0, 1, 40, 1e-5},
    {50272, 8, 0.7f, 50, 1, 40, 1e-5},
    {50272, 8, 1, 0, 0.9f, 40, 1e-5},
    {50272, 8, 1.3f, 200, 0.5f, 40, 1e-5},
    {50272, 0.2f, 1, 0, 0.95f, 10, 1e-5},
    {50272, 25, 0.8f, 0, 0.9f, 20, 1e-5},
    {50272, 40, 1, 2000, 0.99f, 10, 1e-5},
    {50272, 8, 0.01f, 40, 0.9f, 10, 1e-5},
    {1000, 8, 1, 5, 1, 200, 1e-5},
    {1000, 5, 1, 0, 0.6f, 200, 1e-5},
    {37, 4, 2, 30, 0.8f, 200, 1e-5},
    {1, 4, 1, 0, 1, 3, 1e-5},
    {2, 4, 1, 1, 0.5f, 20, 1e-5},
    {1025, 0, 1, 7, 1, 100, 1e-5},
    {1025, 0, 1, 0, 0.25f, 100, 1e-5},
    {70, 4, 1, 70, 1, 50, 1e-5},
    {70, 4, 1, 1000, 0.999f, 50, 1e-5},
};

std::vector<SampleRow> Rows(const Case& c) {
  SampleRow row;
  row.temperature = c.temperature;
  row.top_k = c.top_k;
  row.top_p = c.top_p;
  row.seed = 0x123456789ABCDEFull;
  row.choice = 2;
  return Positions(row, c.draws);
}

std::string Describe(const Case& c, int64_t target) {
  return absl::StrCat(hwy::TargetName(target), ", vocabulary ", c.vocab, ", temperature ",
                      c.temperature, ", top_k ", c.top_k, ", top_p ", c.top_p);
}

// The one comparison: tokens that differ, or log-probabilities beyond the tolerance.
int64_t CountDifferent(const Drawn& expected, const Drawn& actual, double logprob) {
  int64_t different = 0;
  for (size_t i = 0; i < expected.tokens.size(); ++i) {
    different += expected.tokens[i] != actual.tokens[i] ||
                 !(std::abs(double{expected.logprobs[i]} - actual.logprobs[i]) <= logprob);
  }
  return different;
}

TEST(SampleParity, EveryTargetIsTheReference) {
  ThreadPool pool(2);
  for (const Case& c : kCases) {
    const std::vector<float> logits = Logits(c.vocab, 5, c.scale);
    const Drawn expected = DrawAll({}, logits, Rows(c));
    for (const int64_t target : Targets()) {
      const ForcedTarget forced(target);
      const Drawn actual = DrawAll({Backend::kCpu, &pool, {}}, logits, Rows(c));
      EXPECT_EQ(CountDifferent(expected, actual, c.logprob), 0) << Describe(c, target);
    }
  }
}

// Off by one: in the id, in the position that keys the draw.
TEST(SampleParity, TheComparisonRejectsOffByOne) {
  ThreadPool pool(1);
  for (const Case& c : kCases) {
    if (c.vocab != 1000) continue;
    const std::vector<float> logits = Logits(c.vocab, 5, c.scale);
    const Drawn expected = DrawAll({}, logits, Rows(c));
    Drawn wrong_id = expected;
    for (int32_t& token : wrong_id.tokens) ++token;
    EXPECT_EQ(CountDifferent(expected, wrong_id, c.logprob), c.draws);
    std::vector<SampleRow> late = Rows(c);
    for (SampleRow& row : late) ++row.position;
    const Drawn wrong_position = DrawAll({Backend::kCpu, &pool, {}}, logits, late);
    EXPECT_GT(CountDifferent(expected, wrong_position, c.logprob), 0) << Describe(c, 0);
  }
}

TEST(SampleParity, TheComparisonRejectsOneCandidateMore) {
  ThreadPool pool(1);
  for (const Case& c : kCases) {
    if (c.top_k == 0 || c.top_k > 10 || c.vocab < 1000) continue;
    const std::vector<float> logits = Logits(c.vocab, 5, c.scale);
    std::vector<SampleRow> rows = Rows(c);
    const Drawn expected = DrawAll({}, logits, rows);
    for (SampleRow& row : rows) ++row.top_k;
    const Drawn wrong = DrawAll({Backend::kCpu, &pool, {}}, logits, rows);
    EXPECT_GT(CountDifferent(expected, wrong, c.logprob), 0) << Describe(c, 0);
  }
}

TEST(SampleParity, LogprobsOfGivenTokens) {
  const std::vector<float> logits = Logits(3 * 50272, 9, 10);
  const std::vector<int32_t> tokens = {0, 50271, 777};
  std::vector<float> expected(3), actual(3);
  kernels::LogprobArgs args{logits.data(), 3, 50272, 50272, tokens.data(), expected.data()};
  kernels::TokenLogprobsReference(args);
  args.logprobs = actual.data();
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    kernels::TokenLogprobs({Backend::kCpu, &pool, {}}, args);
    for (int i = 0; i < 3; ++i) EXPECT_NEAR(expected[i], actual[i], 1e-5);
  }
  // A sum of 50272 equal terms in plain fp32 would lose this.
  const std::vector<float> flat(50272, 3.25f);
  const std::vector<int32_t> one = {40000};
  args = {flat.data(), 1, 50272, 50272, one.data(), actual.data()};
  ThreadPool pool(1);
  kernels::TokenLogprobs({Backend::kCpu, &pool, {}}, args);
  EXPECT_NEAR(actual[0], -std::log(50272.0), 1e-6);
}

// The padding columns of a row take no part.
TEST(SampleParity, StopsAtTheVocabulary) {
  std::vector<float> logits(64, 0);
  logits[60] = 100;
  logits[3] = 1;
  SampleRow row;
  row.temperature = 0;
  std::vector<double> scratch(kernels::SampleScratchBytes(50, 1) / 8 + 1);
  int32_t token = -1;
  float logprob = 1;
  kernels::SampleArgs args{logits.data(), 1, 64, 50, &row, &token, &logprob, scratch.data()};
  ThreadPool pool(1);
  kernels::Sample({Backend::kCpu, &pool, {}}, args);
  EXPECT_EQ(token, 3);
  EXPECT_NEAR(logprob, 1 - std::log(std::exp(1.0) + 49), 1e-6);
}

// -inf is never drawn; NaN is passed over; rows without anything to draw still give a valid id.
TEST(SampleParity, OddLogitsGiveValidTokens) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  ThreadPool pool(1);
  const KernelContext cpu = {Backend::kCpu, &pool, {}};
  SampleRow row;
  std::vector<float> logits(100, -kInf);
  logits[40] = 1;
  logits[90] = 1;
  logits[50] = NAN;
  for (const int32_t top_k : {0, 5, 99}) {
    for (const float top_p : {1.0f, 0.999f}) {
      row.top_k = top_k;
      row.top_p = top_p;
      for (const KernelContext& context : {cpu, KernelContext{}}) {
        const Drawn drawn = DrawAll(context, logits, Positions(row, 60));
        EXPECT_EQ(std::count(drawn.tokens.begin(), drawn.tokens.end(), 40) +
                      std::count(drawn.tokens.begin(), drawn.tokens.end(), 90),
                  60);
        EXPECT_NEAR(drawn.logprobs[0], -std::log(2.0), 1e-6);
      }
    }
  }
  for (const float fill : {-kInf, NAN}) {
    EXPECT_EQ(DrawAll(cpu, std::vector<float>(100, fill), {row}).tokens[0], 0);
    EXPECT_EQ(DrawAll({}, std::vector<float>(100, fill), {row}).tokens[0], 0);
  }
}

}  // namespace
}  // namespace pamir::parity
