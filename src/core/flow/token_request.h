// Hop 2: the same request in token ids. Made by text, moved once into the coordinator's bounded
// queue; a full queue refuses it at the door.
#ifndef PAMIR_CORE_FLOW_TOKEN_REQUEST_H_
#define PAMIR_CORE_FLOW_TOKEN_REQUEST_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/ids.h"
#include "pamir/sampling.h"

namespace pamir::flow {

struct TokenRequest {
  SeqId id;
  std::string tenant;
  std::vector<TokenId> prompt;  // at least one id, each inside the vocabulary
  SamplingParams sampling;
  // Limits that are decided by token ids; stop strings are the text room's.
  int32_t max_tokens = 16;              // 0: the prompt is only scored
  std::vector<TokenId> stop_token_ids;  // the model's end token is added by the coordinator
  bool ignore_eos = false;
  bool prompt_logprobs = false;  // log-probability of prompt[i] given prompt[0..i-1], i >= 1
  absl::Time deadline = absl::InfiniteFuture();
};

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_TOKEN_REQUEST_H_
