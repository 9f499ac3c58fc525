// The engine against Hugging Face's answers, all ranks as threads: greedy tokens equal,
// log-probabilities within 1e-3; and the same bits whatever the chunks, the batch and the threads.
#include "support/golden.h"

#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "unit/model/thread_ranks.h"

namespace pamir::testing {
namespace {

spec::ModelSpec ReadSpec(const std::string& directory) {
  std::ifstream file(directory + "/config.json");
  return spec::ParseModelConfig(std::string(std::istreambuf_iterator<char>(file), {}), "golden")
      .value();
}

struct Generated {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
};

// Runs `prompts` together in slots 0, 1, ...: prompts in pieces of at most `chunk` tokens, then
// decode steps. Slot i has blocks i * per_slot ...
std::vector<Generated> Generate(ThreadRanks* ranks,
                                const std::vector<std::vector<int32_t>>& prompts, int chunk,
                                size_t tokens, const SamplingParams& sampling) {
  constexpr int kBlocksPerSlot = 8;
  std::vector<Generated> out(prompts.size());
  flow::StepPlan plan;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const SlotId slot(static_cast<int32_t>(i));
    flow::Admission admission{.slot = slot,
                              .ids = prompts[i],
                              .prompt_length = static_cast<int32_t>(prompts[i].size()),
                              .sampling = sampling};
    for (int b = 0; b < kBlocksPerSlot; ++b) {
      admission.blocks.push_back(BlockId(static_cast<int32_t>(i) * kBlocksPerSlot + b));
    }
    plan.admissions.push_back(admission);
  }
  std::vector<int32_t> computed(prompts.size(), 0);
  for (uint64_t step = 1;; ++step) {
    plan.step = StepId(step);
    for (size_t i = 0; i < prompts.size(); ++i) {
      if (out[i].ids.size() >= tokens) continue;
      const int32_t known = static_cast<int32_t>(prompts[i].size() + out[i].ids.size());
      const int32_t count = std::min(chunk, known - computed[i]);
      const bool last = computed[i] + count == known;
      plan.rows.push_back(
          {.slot = SlotId(static_cast<int32_t>(i)),
           .from = computed[i],
           .count = count,
           .kind = out[i].ids.empty() ? flow::RowKind::kPrompt : flow::RowKind::kEmitted,
           .wants = last ? flow::RowWants::kSample : flow::RowWants::kNothing});
      computed[i] += count;
    }
    if (plan.rows.empty()) break;
    const flow::StepResult result = ranks->Step(plan);
    for (const flow::SampledToken& sampled : result.sampled) {
      out[sampled.slot.value].ids.push_back(sampled.token);
      out[sampled.slot.value].logprobs.push_back(sampled.logprob);
    }
    if (::testing::Test::HasFailure()) break;
    plan = {};
  }
  for (size_t i = 0; i < prompts.size(); ++i) plan.releases.push_back(SlotId(static_cast<int>(i)));
  ranks->Step(plan);
  return out;
}

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

}  // namespace
}  // namespace pamir::testing
