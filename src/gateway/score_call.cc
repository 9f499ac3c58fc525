#include "gateway/score_call.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace pamir::gateway {

ScoreCall::ScoreCall(const Backend& backend, flow::GenerateRequest request, Done done)
    : EngineCall(backend, std::move(request)), done_(std::move(done)) {}

void ScoreCall::OnEvents(std::vector<flow::TokenEvent> events) {
  const flow::TokenEvent& last = events.back();
  if (last.finish == FinishReason::kNone) return;  // nothing but the end matters
  if (last.finish == FinishReason::kCancelled || last.finish == FinishReason::kError) {
    return Fail(ErrorOfEvent(last));
  }
  if (last.prompt_logprobs.size() + 1 != prompt_.size()) {
    return Fail({ErrorCode::kInternal,
                 absl::StrCat("the engine gave ", last.prompt_logprobs.size(),
                              " log-probabilities for ", prompt_.size(), " tokens"),
                 ""});
  }
  if (!EndOnce()) return;
  ScoreReply reply;
  reply.ids = std::move(prompt_);
  reply.logprobs.assign(last.prompt_logprobs.begin(), last.prompt_logprobs.end());
  for (const double logprob : reply.logprobs) reply.nll -= logprob;
  done_(std::move(reply));
}

void ScoreCall::OnFailed(const ApiError& error) { done_(error); }

}  // namespace pamir::gateway
