#include "unit/model/generate.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "gtest/gtest.h"

namespace pamir::testing {
namespace {

constexpr int kBlocksPerSlot = 8;

std::vector<BlockId> BlocksOf(size_t slot) {
  std::vector<BlockId> blocks;
  for (int b = 0; b < kBlocksPerSlot; ++b) {
    blocks.push_back(BlockId(static_cast<int32_t>(slot) * kBlocksPerSlot + b));
  }
  return blocks;
}

}  // namespace

spec::ModelSpec ReadSpec(const std::string& directory) {
  std::ifstream file(directory + "/config.json");
  return spec::ParseModelConfig(std::string(std::istreambuf_iterator<char>(file), {}), "golden")
      .value();
}

std::vector<Generated> Generate(ThreadRanks* ranks,
                                const std::vector<std::vector<int32_t>>& prompts, int chunk,
                                size_t tokens, const SamplingParams& sampling) {
  std::vector<Generated> out(prompts.size());
  flow::StepPlan plan;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const SlotId slot(static_cast<int32_t>(i));
    flow::Admission admission{.slot = slot,
                              .ids = prompts[i],
                              .prompt_length = static_cast<int32_t>(prompts[i].size()),
                              .sampling = sampling};
    admission.blocks = BlocksOf(i);
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

std::vector<float> Score(ThreadRanks* ranks, const std::vector<int32_t>& ids) {
  const int32_t length = static_cast<int32_t>(ids.size());
  flow::StepPlan plan{.step = StepId(1)};
  plan.admissions.push_back(
      {.slot = SlotId(0), .ids = ids, .prompt_length = length, .blocks = BlocksOf(0)});
  plan.rows.push_back({.slot = SlotId(0),
                       .count = length - 1,
                       .kind = flow::RowKind::kPrompt,
                       .wants = flow::RowWants::kPromptLogprobs});
  const flow::StepResult result = ranks->Step(plan);
  plan = {.step = StepId(2)};
  plan.releases.push_back(SlotId(0));
  ranks->Step(plan);
  return result.prompt_logprobs.empty() ? std::vector<float>() : result.prompt_logprobs[0].logprobs;
}

}  // namespace pamir::testing
