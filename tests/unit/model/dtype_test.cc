// The model with its weights in each dtype that --dtype names; the checkpoint is in float16.
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "support/golden.h"
#include "unit/model/generate.h"
#include "unit/model/thread_ranks.h"

namespace pamir::testing {
namespace {

class WeightDTypes : public ::testing::Test {
 protected:
  WeightDTypes()
      : golden_(LoadGolden("fable-2m")),
        model_(ReadSpec(golden_.directory)),
        source_(weights::OpenCheckpoint(golden_.directory).value()) {}

  ThreadRanks Ranks(DType dtype, int tp) const {
    spec::ShardPlan plan = SmallPlan(model_, tp, 1);
    plan.weight_dtype = dtype;
    return ThreadRanks(model_, plan, *source_, 1);
  }

  std::vector<std::vector<int32_t>> Prompts() const {
    std::vector<std::vector<int32_t>> prompts;
    for (const GoldenCase& c : golden_.cases) prompts.push_back(c.prompt_ids);
    return prompts;
  }

  // Of the reference's own texts, prompt and continuation.
  std::vector<float> Scores(ThreadRanks ranks) const {
    std::vector<float> all;
    for (const GoldenCase& c : golden_.cases) {
      std::vector<int32_t> ids = c.prompt_ids;
      ids.insert(ids.end(), c.greedy_ids.begin(), c.greedy_ids.end());
      ids.resize(std::min<size_t>(ids.size(), 128));  // blocks of a slot
      const std::vector<float> scores = Score(&ranks, ids);
      all.insert(all.end(), scores.begin(), scores.end());
    }
    return all;
  }

  const GoldenModel golden_;
  const spec::ModelSpec model_;
  const std::unique_ptr<weights::TensorSource> source_;
};

double Mean(const std::vector<float>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Every fp16 number is a float32, and the kernels accumulate in float32 either way.
TEST_F(WeightDTypes, Float32GivesTheBitsOfFloat16) {
  ThreadRanks half = Ranks(DType::kFloat16, 1), full = Ranks(DType::kFloat32, 1);
  const SamplingParams sampling{.temperature = 0.8f, .top_p = 0.9f, .seed = 11};
  const auto expected = Generate(&half, Prompts(), 256, 32, sampling);
  const auto generated = Generate(&full, Prompts(), 256, 32, sampling);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(expected[i].ids, generated[i].ids) << "prompt " << i;
    EXPECT_EQ(expected[i].logprobs, generated[i].logprobs) << "prompt " << i;
  }
}

// bfloat16 keeps 8 of float16's 11 bits: a little worse, never far off, and the same on any split.
TEST_F(WeightDTypes, BFloat16IsClose) {
  const std::vector<float> half = Scores(Ranks(DType::kFloat16, 1));
  const std::vector<float> brain = Scores(Ranks(DType::kBFloat16, 1));
  const std::vector<float> split = Scores(Ranks(DType::kBFloat16, 2));
  ASSERT_EQ(half.size(), brain.size());
  ASSERT_GT(half.size(), 200u);
  EXPECT_NEAR(Mean(half), Mean(brain), 0.01);
  EXPECT_NE(half, brain) << "the weights were not rounded";
  for (size_t i = 0; i < half.size(); ++i) {
    EXPECT_NEAR(half[i], brain[i], 0.3) << "at " << i;
    EXPECT_NEAR(brain[i], split[i], 1e-3) << "at " << i;
  }
}

TEST_F(WeightDTypes, BFloat16AgreesGreedily) {
  ThreadRanks half = Ranks(DType::kFloat16, 1), brain = Ranks(DType::kBFloat16, 1);
  const auto expected = Generate(&half, Prompts(), 256, 8, {.temperature = 0});
  const auto generated = Generate(&brain, Prompts(), 256, 8, {.temperature = 0});
  int equal = 0, all = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    for (size_t t = 0; t < 8; ++t, ++all) equal += expected[i].ids[t] == generated[i].ids[t];
  }
  EXPECT_GE(equal * 10, all * 8) << equal << " of " << all << " tokens";
}

}  // namespace
}  // namespace pamir::testing
