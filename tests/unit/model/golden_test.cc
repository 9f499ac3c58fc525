// The engine against Hugging Face's answers, all ranks as threads: greedy tokens equal,
// log-probabilities within 1e-3; and the same bits whatever the chunks, the batch and the threads.
#include "support/golden.h"

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "unit/model/generate.h"
#include "unit/model/thread_ranks.h"

namespace pamir::testing {
namespace {

using Layout = std::tuple<std::string, int, int>;  // model, tp, pp

class GoldenTest : public ::testing::TestWithParam<Layout> {};

TEST_P(GoldenTest, GreedyTokensAndLogprobs) {
  const auto [name, tp, pp] = GetParam();
  const GoldenModel golden = LoadGolden(name);
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory);
  ASSERT_TRUE(source.ok()) << source.status();
  ThreadRanks ranks(model, SmallPlan(model, tp, pp), **source, 1);

  std::vector<std::vector<int32_t>> prompts;
  size_t tokens = 0;
  for (const GoldenCase& c : golden.cases) {
    prompts.push_back(c.prompt_ids);
    tokens = std::max(tokens, c.greedy_ids.size());
  }
  const auto generated = Generate(&ranks, prompts, 256, tokens, {.temperature = 0});
  for (size_t i = 0; i < golden.cases.size(); ++i) {
    const GoldenCase& c = golden.cases[i];
    ASSERT_GE(generated[i].ids.size(), c.greedy_ids.size());
    for (size_t t = 0; t < c.greedy_ids.size(); ++t) {
      ASSERT_EQ(generated[i].ids[t], c.greedy_ids[t]) << "prompt " << i << ", token " << t;
      EXPECT_NEAR(generated[i].logprobs[t], c.greedy_logprobs[t], 1e-3)
          << "prompt " << i << ", token " << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, GoldenTest,
                         ::testing::Values(Layout{"fable-14m", 1, 1}, Layout{"fable-14m", 2, 1},
                                           Layout{"fable-14m", 3, 2}, Layout{"fable-14m", 1, 6},
                                           Layout{"fable-2m", 1, 1}, Layout{"fable-2m", 2, 2},
                                           Layout{"tiny-350m-like", 1, 1},
                                           Layout{"tiny-350m-like", 4, 3},
                                           Layout{"tiny-galactica-like", 1, 1},
                                           Layout{"tiny-galactica-like", 2, 3}),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param) + "_tp" +
                                              std::to_string(std::get<1>(info.param)) + "_pp" +
                                              std::to_string(std::get<2>(info.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(PromptLogprobs, EqualTheReference) {
  const GoldenModel golden = LoadGolden("fable-14m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  ThreadRanks ranks(model, SmallPlan(model, 2, 1), *source, 1);
  const GoldenCase& c = golden.cases[3];
  const int32_t count = static_cast<int32_t>(c.prompt_ids.size()) - 1;
  flow::StepPlan plan{.step = StepId(1)};
  plan.admissions.push_back(
      {.slot = SlotId(2), .ids = c.prompt_ids, .prompt_length = count + 1, .blocks = {BlockId(5)}});
  plan.rows.push_back({.slot = SlotId(2),
                       .from = 0,
                       .count = count,
                       .kind = flow::RowKind::kPrompt,
                       .wants = flow::RowWants::kPromptLogprobs});
  const flow::StepResult result = ranks.Step(plan);
  ASSERT_EQ(result.prompt_logprobs.size(), 1u);
  ASSERT_EQ(result.prompt_logprobs[0].logprobs.size(), c.prompt_logprobs.size());
  for (size_t i = 0; i < c.prompt_logprobs.size(); ++i) {
    EXPECT_NEAR(result.prompt_logprobs[0].logprobs[i], c.prompt_logprobs[i], 1e-3);
  }
}

// One arithmetic: whatever runs beside a request, however its prompt is cut, on any thread count.
TEST(Exactness, BitsDoNotDependOnBatchChunkOrThreads) {
  const GoldenModel golden = LoadGolden("fable-14m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  const SamplingParams sampling{.temperature = 0.9f, .top_k = 40, .top_p = 0.95f, .seed = 7};
  std::vector<std::vector<int32_t>> prompts;
  for (const GoldenCase& c : golden.cases) prompts.push_back(c.prompt_ids);

  for (const auto& [tp, pp] : {std::pair{1, 1}, std::pair{2, 1}, std::pair{2, 2}}) {
    ThreadRanks ranks(model, SmallPlan(model, tp, pp), *source, 1);
    const auto together = Generate(&ranks, prompts, 256, 24, sampling);
    const auto chunked = Generate(&ranks, prompts, 3, 24, sampling);
    ThreadRanks threaded(model, SmallPlan(model, tp, pp), *source, 3);
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto alone = Generate(&threaded, {prompts[i]}, 7, 24, sampling);
      EXPECT_EQ(together[i].ids, alone[0].ids) << "tp " << tp << " pp " << pp << " prompt " << i;
      EXPECT_EQ(together[i].logprobs, alone[0].logprobs) << "prompt " << i;
      EXPECT_EQ(together[i].logprobs, chunked[i].logprobs) << "prompt " << i;
    }
  }
}

// A sequence that lost its place is admitted again with what it had emitted, perhaps where another
// one left its keys and values: the rest comes out as if nothing had happened.
TEST(Exactness, AReplayGoesOnWithTheSameBits) {
  const GoldenModel golden = LoadGolden("fable-14m");
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  const SamplingParams sampling{.temperature = 1.1f, .top_p = 0.9f, .seed = 21};
  const spec::ModelSpec model = ReadSpec(golden.directory);
  ThreadRanks ranks(model, SmallPlan(model, 2, 2), *source, 1);
  const std::vector<int32_t>& prompt = golden.cases[0].prompt_ids;
  const auto whole = Generate(&ranks, {prompt}, 256, 24, sampling)[0];
  std::vector<int32_t> replayed = prompt;
  replayed.insert(replayed.end(), whole.ids.begin(), whole.ids.begin() + 10);
  // In other slots, behind a longer sequence, in other pieces.
  Generate(&ranks, {golden.cases[1].prompt_ids, golden.cases[3].prompt_ids}, 256, 40, sampling);
  const auto rest = Generate(&ranks, {{2}, replayed}, 5, 14, sampling)[1];
  EXPECT_EQ(rest.ids, std::vector<int32_t>(whole.ids.begin() + 10, whole.ids.end()));
  EXPECT_EQ(rest.logprobs, std::vector<float>(whole.logprobs.begin() + 10, whole.logprobs.end()));
}

}  // namespace
}  // namespace pamir::testing
