// One request on its way through the engine, seen from a door: encode on the text pool, submit,
// receive tokens in order, end once. What a call makes of the tokens is up to what derives from it.
#ifndef PAMIR_GATEWAY_ENGINE_CALL_H_
#define PAMIR_GATEWAY_ENGINE_CALL_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/flow/generate_request.h"
#include "core/flow/ports.h"
#include "gateway/outcome.h"
#include "gateway/strand.h"
#include "gateway/text_pool.h"

namespace pamir::gateway {

// What calls are made with. Owned by others and living longer than any call that has not ended.
struct Backend {
  flow::Engine* engine = nullptr;
  const flow::Text* text = nullptr;
  TextPool* pool = nullptr;
};

// Held by shared_ptr: by its connection until that is done, by the engine until its last event.
// Once ended it touches neither pool nor engine nor text, so a late event of the engine does no
// harm.
class EngineCall : public flow::TokenSink, public std::enable_shared_from_this<EngineCall> {
 public:
  EngineCall(const Backend& backend, flow::GenerateRequest request);

  // Once. Does not block: errors, a full text queue among them, end the call.
  void Start();

  // The client went away, cancelled, or its deadline passed. Any thread; harmless after the end.
  void Cancel(bool deadline_exceeded);

  // From the coordinator's thread: one lock and a hop to the text pool.
  void OnToken(flow::TokenEvent event) final;

 protected:
  // On the text pool, one at a time, in order; called no more after the end.
  virtual void OnEvents(std::vector<flow::TokenEvent> events) = 0;
  // The call ended with an error; called at most once, on any thread.
  virtual void OnFailed(const ApiError& error) = 0;

  // True for the first caller, who then reports the end.
  [[nodiscard]] bool EndOnce();
  void Fail(const ApiError& error);
  // Fails, and lets the engine stop working on it.
  void CancelWith(const ApiError& error);

  const Backend backend_;
  const SeqId id_;
  flow::GenerateRequest request_;  // until Submit; then what is left of it
  std::vector<TokenId> prompt_;    // set before the first event

 private:
  void EncodeAndSubmit();
  void Submit();

  Strand<flow::TokenEvent> strand_;
  std::atomic<bool> ended_{false};
  std::atomic<bool> cancelled_{false};
};

// The error that an ending event stands for. kError means that the cluster could not go on: the
// request was fine and may be sent again, here or elsewhere.
ApiError ErrorOfEvent(const flow::TokenEvent& event);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_ENGINE_CALL_H_
