// The one place that judges what clients send: every door fills these plain structs and gets a
// request of the path, or an error that names the field, what is wrong and what would be right.
// Limits: include/pamir/limits.h. Pure functions.
#ifndef PAMIR_GATEWAY_VALIDATE_H_
#define PAMIR_GATEWAY_VALIDATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/ids.h"
#include "core/flow/generate_request.h"
#include "gateway/outcome.h"

namespace pamir::gateway {

// Neither: the empty text. Both is the door's mistake; ids win.
struct PromptInput {
  std::optional<std::string> text;
  std::optional<std::vector<TokenId>> ids;
};

// As a door understood it, nothing checked; absent = the API's default. Wide types, so that a JSON
// number that fits no int32 gets here and is refused by name.
struct GenerateInput {
  PromptInput prompt;
  std::optional<double> temperature;
  std::optional<int64_t> top_k;
  std::optional<double> top_p;
  uint64_t seed = 0;  // the door draws one where the client gave none
  std::optional<int64_t> max_tokens;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  std::string request_id;
  std::string tenant;
  absl::Time deadline = absl::InfiniteFuture();
};

struct ScoreInput {
  PromptInput prompt;
  std::string request_id;
  std::string tenant;
  absl::Time deadline = absl::InfiniteFuture();
};

// Ids must lie in 0 .. vocab_size - 1. The request's SeqId is left to the caller.
Outcome<flow::GenerateRequest> ValidateGenerate(GenerateInput input, int32_t vocab_size);
Outcome<flow::GenerateRequest> ValidateScore(ScoreInput input, int32_t vocab_size);

// Nothing when fine. `field` is the name to blame.
std::optional<ApiError> CheckText(const std::string& field, const std::string& text);
std::optional<ApiError> CheckIds(const std::string& field, const std::vector<TokenId>& ids,
                                 int32_t vocab_size);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_VALIDATE_H_
