// Hop 8: one token of one choice, or the end of it. Made when sched applies StepDone; read by text.
#ifndef PAMIR_CORE_FLOW_TOKEN_EVENT_H_
#define PAMIR_CORE_FLOW_TOKEN_EVENT_H_

#include <string>
#include <vector>

#include "base/ids.h"
#include "pamir/sampling.h"

namespace pamir::flow {

struct TokenEvent {
  SeqId id;
  int32_t choice = 0;
  int32_t index = 0;       // of the token within the choice; with no token: how many there were
  bool has_token = false;  // an end may come without a token (cancel, error, a scored prompt)
  TokenId token = 0;
  float logprob = 0;
  FinishReason finish = FinishReason::kNone;
  std::string error;                   // with kError or kCancelled: why, for the client
  bool deadline_exceeded = false;      // with kCancelled
  std::vector<float> prompt_logprobs;  // with the end of a scored prompt: [prompt size - 1]
};

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_TOKEN_EVENT_H_
