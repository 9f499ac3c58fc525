#include "gateway/engine_call.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

namespace pamir::gateway {
namespace {

flow::TokenRequest MakeTokenRequest(const flow::GenerateRequest& from,
                                    const std::vector<TokenId>& prompt) {
  flow::TokenRequest to;
  to.id = from.id;
  to.tenant = from.tenant;
  to.prompt = prompt;
  to.sampling = from.sampling;
  to.max_tokens = from.stop.max_tokens;
  to.stop_token_ids = from.stop.stop_token_ids;
  to.ignore_eos = from.stop.ignore_eos;
  to.prompt_logprobs = from.prompt_logprobs;
  to.deadline = from.deadline;
  return to;
}

ApiError CancelledError(bool deadline_exceeded) {
  return deadline_exceeded
             ? ApiError{ErrorCode::kDeadlineExceeded, "the request's deadline passed", ""}
             : ApiError{ErrorCode::kCancelled, "the request was cancelled", ""};
}

}  // namespace

ApiError ErrorOfEvent(const flow::TokenEvent& event) {
  ApiError error;
  if (event.finish == FinishReason::kCancelled) {
    error = CancelledError(event.deadline_exceeded);
  } else {
    error = {ErrorCode::kNotReady, "the engine is gone; try again later", ""};
  }
  if (!event.error.empty()) error.message = event.error;
  return error;
}

EngineCall::EngineCall(const Backend& backend, flow::GenerateRequest request)
    : backend_(backend),
      id_(request.id),
      request_(std::move(request)),
      strand_(backend.pool, [this](std::vector<flow::TokenEvent> events) {
        if (!ended_.load()) OnEvents(std::move(events));
      }) {}

void EngineCall::Start() {
  if (auto* ids = std::get_if<std::vector<TokenId>>(&request_.prompt)) {
    prompt_ = std::move(*ids);
    return Submit();
  }
  auto job = [this, keep = shared_from_this()] { EncodeAndSubmit(); };
  if (!backend_.pool->TryPostLong(std::move(job))) Fail(TextQueueFull());
}

void EngineCall::EncodeAndSubmit() {
  if (ended_.load()) return;  // the client left while the text waited
  std::string text = std::move(std::get<std::string>(request_.prompt));
  absl::StatusOr<std::vector<TokenId>> ids = backend_.text->Encode(text);
  if (!ids.ok()) return Fail(FromStatus(ids.status(), "text"));
  prompt_.reserve(ids->size() + 1);
  prompt_.push_back(backend_.text->bos());
  prompt_.insert(prompt_.end(), ids->begin(), ids->end());
  Submit();
}

void EngineCall::Submit() {
  flow::TokenRequest request = MakeTokenRequest(request_, prompt_);
  if (ended_.load()) return;
  const absl::Status status = backend_.engine->Submit(std::move(request), shared_from_this());
  if (!status.ok()) return Fail(FromStatus(status, ""));
  // A cancel that came before Submit meant nothing to the engine: say it again.
  if (cancelled_.load()) backend_.engine->Cancel(id_);
}

void EngineCall::Cancel(bool deadline_exceeded) { CancelWith(CancelledError(deadline_exceeded)); }

void EngineCall::CancelWith(const ApiError& error) {
  if (!EndOnce()) return;
  cancelled_.store(true);
  backend_.engine->Cancel(id_);
  OnFailed(error);
}

void EngineCall::OnToken(flow::TokenEvent event) {
  strand_.Push(std::move(event), shared_from_this());
}

bool EngineCall::EndOnce() {
  if (ended_.exchange(true)) return false;
  strand_.Close();
  return true;
}

void EngineCall::Fail(const ApiError& error) {
  if (EndOnce()) OnFailed(error);
}

}  // namespace pamir::gateway
