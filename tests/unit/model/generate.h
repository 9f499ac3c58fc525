// Prompts through all ranks of a plan, as a scheduler would send them.
#ifndef PAMIR_TESTS_UNIT_MODEL_GENERATE_H_
#define PAMIR_TESTS_UNIT_MODEL_GENERATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/spec/model_spec.h"
#include "pamir/sampling.h"
#include "unit/model/thread_ranks.h"

namespace pamir::testing {

spec::ModelSpec ReadSpec(const std::string& directory);

struct Generated {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
};

// Runs `prompts` together in slots 0, 1, ...: prompts in pieces of at most `chunk` tokens, then
// decode steps; `tokens` of each. Slot i has blocks 8 i .. 8 i + 7, and is released at the end.
std::vector<Generated> Generate(ThreadRanks* ranks,
                                const std::vector<std::vector<int32_t>>& prompts, int chunk,
                                size_t tokens, const SamplingParams& sampling);

// Log-probabilities of ids[1 ..], computed in slot 0 in one row.
std::vector<float> Score(ThreadRanks* ranks, const std::vector<int32_t>& ids);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_UNIT_MODEL_GENERATE_H_
