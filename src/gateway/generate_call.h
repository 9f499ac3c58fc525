// A Generate request of any door: tokens in, chunks of text out through an Outbox.
#ifndef PAMIR_GATEWAY_GENERATE_CALL_H_
#define PAMIR_GATEWAY_GENERATE_CALL_H_

#include <memory>
#include <vector>

#include "gateway/engine_call.h"
#include "gateway/outbox.h"

namespace pamir::gateway {

class GenerateCall final : public EngineCall {
 public:
  // The writer lives until it has been told the end.
  GenerateCall(const Backend& backend, flow::GenerateRequest request, ChunkWriter* writer,
               size_t max_unread_bytes);

  // For the writer: the chunk has gone out; false when the connection is broken.
  void OnWritten(bool ok);

 private:
  void OnEvents(std::vector<flow::TokenEvent> events) override;
  void OnFailed(const ApiError& error) override;
  // Takes one token into the chunk; true when its text ended with a stop string.
  bool Take(const flow::TokenEvent& event, flow::TextChunk& chunk);
  void Finish(FinishReason finish, flow::TextChunk last);

  // Touched on the strand only, but for outbox_, which has its own lock.
  const std::unique_ptr<flow::TextDecoder> decoder_;
  int32_t completion_tokens_ = 0;
  Outbox outbox_;
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GENERATE_CALL_H_
