// Hop 7: what a step gave. Made by the last stage's first rank, read by the coordinator; the other
// ranks answer with an empty one, so that the coordinator knows they are there.
#ifndef PAMIR_CORE_FLOW_STEP_RESULT_H_
#define PAMIR_CORE_FLOW_STEP_RESULT_H_

#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace pamir::flow {

// One for each row of the plan that wanted a sample, in the plan's order.
struct SampledToken {
  SlotId slot;
  TokenId token = 0;
  uint32_t flags = 0;  // none yet
  float logprob = 0;   // of `token` under the model's own distribution (temperature 1, no cuts)
  friend bool operator==(const SampledToken&, const SampledToken&) = default;
};

// One for each row that wanted prompt log-probabilities: logprobs[i] belongs to the token at
// position from + i + 1.
struct PromptLogprobs {
  SlotId slot;
  int32_t from = 0;
  std::vector<float> logprobs;
  friend bool operator==(const PromptLogprobs&, const PromptLogprobs&) = default;
};

struct StepResult {
  Epoch epoch;
  StepId step;
  std::vector<SampledToken> sampled;
  std::vector<PromptLogprobs> prompt_logprobs;
  // Time that the rank's engine spent on the step, for metrics.
  int64_t engine_us = 0;
};

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_STEP_RESULT_H_
