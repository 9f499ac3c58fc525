#include "gateway/generate_call.h"

#include <utility>

namespace pamir::gateway {

GenerateCall::GenerateCall(const Backend& backend, flow::GenerateRequest request,
                           ChunkWriter* writer, size_t max_unread_bytes)
    : EngineCall(backend, std::move(request)),
      decoder_(backend.text->NewDecoder(request_.stop.stop)),
      outbox_(writer, max_unread_bytes) {}

bool GenerateCall::Take(const flow::TokenEvent& event, flow::TextChunk& chunk) {
  ++completion_tokens_;
  if (chunk.tokens.empty()) chunk.index = event.index;
  chunk.tokens.push_back(event.token);
  chunk.logprobs.push_back(event.logprob);
  flow::TextDecoder::Piece piece = decoder_->Feed(event.token);
  chunk.bytes += piece.bytes;
  return piece.stopped;
}

void GenerateCall::OnEvents(std::vector<flow::TokenEvent> events) {
  flow::TextChunk chunk;
  chunk.id = id_;
  for (const flow::TokenEvent& event : events) {
    if (event.has_token && Take(event, chunk)) {
      if (event.finish == FinishReason::kNone) {
        backend_.engine->Stop(id_, event.choice, event.index);
      }
      return Finish(FinishReason::kStop, std::move(chunk));
    }
    if (event.finish == FinishReason::kNone) continue;
    if (event.finish == FinishReason::kStop || event.finish == FinishReason::kLength) {
      chunk.bytes += decoder_->Flush();
      return Finish(event.finish, std::move(chunk));
    }
    return Fail(ErrorOfEvent(event));
  }
  if (outbox_.Add(std::move(chunk))) return;
  CancelWith(
      {ErrorCode::kSlowReader,
       "the stream was not read fast enough and too much text waits; read faster, or ask for "
       "less at a time",
       ""});
}

void GenerateCall::Finish(FinishReason finish, flow::TextChunk last) {
  if (!EndOnce()) return;
  last.finish = finish;
  outbox_.Finish(std::move(last), {.finish = finish,
                                   .completion_tokens = completion_tokens_,
                                   .prompt = std::move(prompt_),
                                   .seed = request_.sampling.seed});
}

void GenerateCall::OnFailed(const ApiError& error) { outbox_.Fail(error); }

void GenerateCall::OnWritten(bool ok) {
  if (!ok) Cancel(/*deadline_exceeded=*/false);
  outbox_.OnWritten();
}

}  // namespace pamir::gateway
