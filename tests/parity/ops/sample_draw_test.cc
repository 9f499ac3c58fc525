// What sampling means: its distribution, its limits, and that only its own inputs matter.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "parity/ops/sample_cases.h"

namespace pamir::parity {
namespace {

using kernels::SampleRow;

class SampleDraws : public testing::Test {
 protected:
  Drawn Draw(const std::vector<float>& logits, const std::vector<SampleRow>& rows) {
    return DrawAll({Backend::kCpu, &pool_, {}}, logits, rows);
  }
  ThreadPool pool_{2};
};

// The distribution that the parameters ask for, computed plainly.
std::vector<double> Distribution(const std::vector<float>& logits, const SampleRow& row) {
  std::vector<int> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  if (row.top_k > 0) ids.resize(std::min<size_t>(ids.size(), row.top_k));
  std::vector<double> p(logits.size());
  double mass = 0;
  for (const int id : ids) mass += p[id] = std::exp(logits[id] / double{row.temperature});
  double kept = 0;
  for (const int id : ids) {
    if (kept >= row.top_p * mass) p[id] = 0;
    kept += p[id];
  }
  for (double& value : p) value /= kept;
  return p;
}

// Pearson's chi-square of counts against probabilities, cells below 5 expected draws pooled, as a
// number of standard deviations above its mean (degrees of freedom k: mean k, variance 2k).
double ChiSquareDeviations(const std::vector<int>& counts, const std::vector<double>& p,
                           int draws) {
  double chi = 0, pooled_expected = 0, pooled_count = 0;
  int cells = 0;
  const auto add = [&](double count, double expected) {
    chi += (count - expected) * (count - expected) / expected;
    ++cells;
  };
  for (size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * draws;
    if (expected >= 5) {
      add(counts[i], expected);
    } else {
      pooled_expected += expected;
      pooled_count += counts[i];
    }
  }
  if (pooled_expected > 0) add(pooled_count, pooled_expected);
  const double freedom = cells - 1;
  return (chi - freedom) / std::sqrt(2 * freedom);
}

TEST_F(SampleDraws, FollowTheDistribution) {
  constexpr int kDraws = 20000;
  const std::vector<float> logits = Logits(60, 3, 5);
  for (const SampleRow& row : std::vector<SampleRow>{{1, 0, 1, 11, 0, 0},
                                                     {0.6f, 0, 1, 12, 1, 0},
                                                     {1.5f, 12, 1, 13, 0, 0},
                                                     {1, 0, 0.8f, 14, 0, 0},
                                                     {1, 20, 0.7f, 15, 3, 0}}) {
    const std::vector<double> p = Distribution(logits, row);
    std::vector<int> counts(logits.size());
    for (const int32_t token : Draw(logits, Positions(row, kDraws)).tokens) ++counts[token];
    for (size_t i = 0; i < p.size(); ++i) EXPECT_TRUE(p[i] > 0 || counts[i] == 0) << i;
    EXPECT_LT(std::abs(ChiSquareDeviations(counts, p, kDraws)), 3) << "seed " << row.seed;

    // The same test must reject a temperature that is 10 % off.
    SampleRow warmer = row;
    warmer.temperature *= 1.1f;
    EXPECT_GT(ChiSquareDeviations(counts, Distribution(logits, warmer), kDraws), 5);
  }
}

TEST_F(SampleDraws, GreedyTakesTheLowestOfEquals) {
  std::vector<float> logits = Logits(50272, 3, 8);
  const float max = *std::max_element(logits.begin(), logits.end());
  for (const int64_t first : {50271, 50255, 33333, 1024, 17, 16, 15, 0}) {
    logits[first] = max + 1;
    SampleRow row;
    row.temperature = 0;
    EXPECT_EQ(Draw(logits, {row}).tokens[0], first);
  }
}

TEST_F(SampleDraws, TopKOfOneTinyTopPAndTinyTemperatureAreGreedy) {
  const std::vector<float> logits = Logits(5000, 21, 3);
  const std::vector<SampleRow> greedy = {{0, 0, 1, 1, 0, 0}};
  const int32_t token = Draw(logits, greedy).tokens[0];
  for (const SampleRow& row : std::vector<SampleRow>{{1, 1, 1, 5, 0, 0},
                                                     {1, 0, 1e-6f, 5, 0, 0},
                                                     {1, 0, 0, 5, 0, 0},
                                                     {2, 1, 0.5f, 5, 0, 0},
                                                     {1e-6f, 1, 1, 5, 0, 0}}) {
    for (const int32_t drawn : Draw(logits, Positions(row, 50)).tokens) EXPECT_EQ(drawn, token);
  }
  std::vector<float> single = logits;  // no tie for the first place
  single[4321] = 50;
  const SampleRow cold = {1e-30f, 0, 1, 5, 0, 0};
  for (const int32_t drawn : Draw(single, Positions(cold, 50)).tokens) EXPECT_EQ(drawn, 4321);
}

TEST_F(SampleDraws, DependOnSeedChoiceAndPositionAlone) {
  const std::vector<float> logits(1000, 1);  // any two draws differ with probability 0.999
  const SampleRow row = {1, 0, 1, 77, 0, 0};
  const std::vector<SampleRow> rows = Positions(row, 64);
  const Drawn once = Draw(logits, rows);
  EXPECT_EQ(Draw(logits, rows).tokens, once.tokens);
  for (size_t i = 0; i < rows.size(); ++i) {  // alone as in the batch
    const Drawn alone = Draw(logits, {rows[i]});
    EXPECT_EQ(alone.tokens[0], once.tokens[i]);
    EXPECT_EQ(alone.logprobs[0], once.logprobs[i]);
  }
  EXPECT_GT(std::set<int32_t>(once.tokens.begin(), once.tokens.end()).size(), 50u) << "positions";

  const auto differing = [&](const SampleRow& other) {
    const Drawn drawn = Draw(logits, Positions(other, 64));
    int count = 0;
    for (size_t i = 0; i < 64; ++i) count += drawn.tokens[i] != once.tokens[i];
    return count;
  };
  EXPECT_GT(differing({1, 0, 1, 78, 0, 0}), 55) << "seed";
  EXPECT_GT(differing({1, 0, 1, 77, 1, 0}), 55) << "choice";
  EXPECT_GT(differing({1, 0, 1, 77 + (uint64_t{1} << 32), 0, 0}), 55) << "high half of the seed";
  EXPECT_EQ(differing(row), 0);
}

}  // namespace
}  // namespace pamir::parity
