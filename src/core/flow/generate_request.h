// Hop 1 of a request's path: what a door understood. Made by gateway, read by text; moves once.
#ifndef PAMIR_CORE_FLOW_GENERATE_REQUEST_H_
#define PAMIR_CORE_FLOW_GENERATE_REQUEST_H_

#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "base/ids.h"
#include "pamir/sampling.h"

namespace pamir::flow {

struct GenerateRequest {
  SeqId id;
  std::string tenant;
  // Text is encoded behind a leading </s>; ids are taken as they are.
  std::variant<std::string, std::vector<TokenId>> prompt;
  SamplingParams sampling;
  StopRules stop;
  bool prompt_logprobs = false;  // Score
  absl::Time deadline = absl::InfiniteFuture();
};

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_GENERATE_REQUEST_H_
