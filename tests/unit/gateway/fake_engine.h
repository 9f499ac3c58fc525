// An engine without a model. By hand: the test emits each token. Echoing: a thread of its own emits
// each request's prompt over and over, one token a round for all, as a batch would.
#ifndef PAMIR_TESTS_UNIT_GATEWAY_FAKE_ENGINE_H_
#define PAMIR_TESTS_UNIT_GATEWAY_FAKE_ENGINE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "core/flow/ports.h"

namespace pamir::gateway {

class FakeEngine final : public flow::Engine {
 public:
  FakeEngine() = default;
  ~FakeEngine() override;

  absl::Status Submit(flow::TokenRequest request, std::shared_ptr<flow::TokenSink> sink) override;
  void Cancel(SeqId id) override;
  void Stop(SeqId id, int32_t choice, int32_t index) override;
  flow::EngineStats Stats() const override;

  void SetStats(flow::EngineStats stats);
  void RefuseWith(absl::Status status);  // what Submit says from now on
  void StartEchoing();

  // Waits until `count` requests were ever submitted; gives the last of them.
  flow::TokenRequest WaitSubmitted(size_t count = 1);
  // Waits until the engine was told so.
  void WaitCancelled(SeqId id);
  std::vector<int32_t> StopIndices() const;  // of all Stop calls
  size_t cancels() const;
  size_t active() const;

  // By hand; each ends the request where finish is set.
  void EmitText(SeqId id, const std::string& bytes);  // a token a byte
  void EmitEnd(SeqId id, FinishReason finish, const std::string& error = "",
               bool deadline_exceeded = false);
  void EmitPromptLogprobs(SeqId id, std::vector<float> logprobs);

 private:
  struct Active {
    flow::TokenRequest request;
    std::shared_ptr<flow::TokenSink> sink;
    int32_t emitted = 0;
  };
  void End(SeqId id, flow::TokenEvent event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EmitToken(SeqId id, Active& active, TokenId token, FinishReason finish)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EchoRound() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !active_.empty(); }

  mutable absl::Mutex mutex_;
  std::map<SeqId, Active> active_ ABSL_GUARDED_BY(mutex_);
  size_t submitted_ ABSL_GUARDED_BY(mutex_) = 0;
  flow::TokenRequest last_ ABSL_GUARDED_BY(mutex_);
  std::set<SeqId> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<int32_t> stops_ ABSL_GUARDED_BY(mutex_);
  flow::EngineStats stats_ ABSL_GUARDED_BY(mutex_) = {.ready = true, .model = "fake"};
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace pamir::gateway

#endif  // PAMIR_TESTS_UNIT_GATEWAY_FAKE_ENGINE_H_
