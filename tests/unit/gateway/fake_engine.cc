#include "unit/gateway/fake_engine.h"

#include <utility>

#include "unit/gateway/byte_text.h"

namespace pamir::gateway {

FakeEngine::~FakeEngine() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status FakeEngine::Submit(flow::TokenRequest request, std::shared_ptr<flow::TokenSink> sink) {
  absl::MutexLock lock(&mutex_);
  if (!refusal_.ok()) return refusal_;
  ++submitted_;
  last_ = request;
  const SeqId id = request.id;
  active_[id] = {std::move(request), std::move(sink), 0};
  return absl::OkStatus();
}

void FakeEngine::Cancel(SeqId id) {
  absl::MutexLock lock(&mutex_);
  cancelled_.insert(id);
  flow::TokenEvent event;
  event.finish = FinishReason::kCancelled;
  End(id, std::move(event));
}

void FakeEngine::Stop(SeqId id, int32_t, int32_t index) {
  absl::MutexLock lock(&mutex_);
  stops_.push_back(index);
  flow::TokenEvent event;
  event.finish = FinishReason::kStop;
  End(id, std::move(event));
}

flow::EngineStats FakeEngine::Stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

void FakeEngine::SetStats(flow::EngineStats stats) {
  absl::MutexLock lock(&mutex_);
  stats_ = std::move(stats);
}

void FakeEngine::RefuseWith(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  refusal_ = std::move(status);
}

void FakeEngine::StartEchoing() {
  thread_ = std::thread([this] {
    while (true) {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &FakeEngine::HasWork));
      if (stop_) return;
      EchoRound();
    }
  });
}

void FakeEngine::EchoRound() {
  std::vector<SeqId> ids;
  for (const auto& [id, active] : active_) ids.push_back(id);
  for (const SeqId id : ids) {
    Active& active = active_[id];
    const auto& prompt = active.request.prompt;
    const bool last = active.emitted + 1 >= active.request.max_tokens;
    // prompt[0] leads; an empty text echoes it.
    const TokenId token =
        prompt.size() == 1 ? prompt[0] : prompt[1 + active.emitted % (prompt.size() - 1)];
    EmitToken(id, active, token, last ? FinishReason::kLength : FinishReason::kNone);
    if (last) active_.erase(id);
  }
}

flow::TokenRequest FakeEngine::WaitSubmitted(size_t count) {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, count]()
                          ABSL_NO_THREAD_SAFETY_ANALYSIS { return submitted_ >= count; };
  mutex_.Await(absl::Condition(&enough));
  return last_;
}

void FakeEngine::WaitCancelled(SeqId id) {
  absl::MutexLock lock(&mutex_);
  const auto told = [this, id]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return cancelled_.contains(id); };
  mutex_.Await(absl::Condition(&told));
}

std::vector<int32_t> FakeEngine::StopIndices() const {
  absl::MutexLock lock(&mutex_);
  return stops_;
}

size_t FakeEngine::cancels() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_.size();
}

size_t FakeEngine::active() const {
  absl::MutexLock lock(&mutex_);
  return active_.size();
}

void FakeEngine::EmitText(SeqId id, const std::string& bytes) {
  absl::MutexLock lock(&mutex_);
  for (const char byte : bytes) {
    const auto it = active_.find(id);
    if (it == active_.end()) return;
    EmitToken(id, it->second, ByteText::TokenOf(byte), FinishReason::kNone);
  }
}

void FakeEngine::EmitEnd(SeqId id, FinishReason finish, const std::string& error,
                         bool deadline_exceeded) {
  absl::MutexLock lock(&mutex_);
  flow::TokenEvent event;
  event.finish = finish;
  event.error = error;
  event.deadline_exceeded = deadline_exceeded;
  End(id, std::move(event));
}

void FakeEngine::EmitPromptLogprobs(SeqId id, std::vector<float> logprobs) {
  absl::MutexLock lock(&mutex_);
  flow::TokenEvent event;
  event.finish = FinishReason::kLength;
  event.prompt_logprobs = std::move(logprobs);
  End(id, std::move(event));
}

void FakeEngine::EmitToken(SeqId id, Active& active, TokenId token, FinishReason finish) {
  flow::TokenEvent event;
  event.id = id;
  event.index = active.emitted++;
  event.has_token = true;
  event.token = token;
  event.logprob = -0.5f * static_cast<float>(event.index);
  event.finish = finish;
  active.sink->OnToken(std::move(event));
}

void FakeEngine::End(SeqId id, flow::TokenEvent event) {
  const auto it = active_.find(id);
  if (it == active_.end()) return;
  event.id = id;
  event.index = it->second.emitted;
  const std::shared_ptr<flow::TokenSink> sink = std::move(it->second.sink);
  active_.erase(it);
  sink->OnToken(std::move(event));
}

}  // namespace pamir::gateway
