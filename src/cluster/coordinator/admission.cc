#include "cluster/coordinator/admission.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "core/sched/scheduler.h"

namespace pamir::coordinator {

Admission::Admission(const CoordinatorOptions& options)
    : scheduler_(SchedulerOptionsOf(options)),
      vocab_(options.load.model.vocab),
      max_waiting_(options.max_waiting),
      max_waiting_tokens_(options.max_waiting_tokens),
      closed_(absl::UnavailableError("the server is not ready: the model is still being loaded")) {}

absl::Status Admission::CheckPrompt(const flow::TokenRequest& request) const {
  PAMIR_RETURN_IF_ERROR(sched::CheckFits(request, scheduler_));
  for (const TokenId id : request.prompt) {
    if (id >= 0 && id < vocab_) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("prompt holds the token id ", id, "; the model's ids are 0 .. ", vocab_ - 1));
  }
  return absl::OkStatus();
}

absl::Status Admission::CheckRoom(int64_t prompt_tokens) const {
  const int32_t requests = pending_ + waiting_;
  const int64_t tokens = pending_tokens_ + waiting_tokens_;
  if (requests >= max_waiting_ || static_cast<int32_t>(live_.size()) >= max_live()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", requests, " requests wait; try again later"));
  }
  // One prompt alone is always let in.
  if (requests > 0 && tokens + prompt_tokens > max_waiting_tokens_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", tokens, " prompt tokens wait; try again later"));
  }
  return absl::OkStatus();
}

absl::Status Admission::Admit(const flow::TokenRequest& request) {
  PAMIR_RETURN_IF_ERROR(CheckPrompt(request));
  const int64_t tokens = static_cast<int64_t>(request.prompt.size());
  absl::MutexLock lock(&mutex_);
  if (!closed_.ok()) return closed_;
  if (live_.contains(request.id)) {
    return absl::AlreadyExistsError(absl::StrCat("request id ", request.id.value, " is in use"));
  }
  PAMIR_RETURN_IF_ERROR(CheckRoom(tokens));
  live_[request.id] = {};
  ++pending_;
  pending_tokens_ += tokens;
  return absl::OkStatus();
}

void Admission::Withdraw(SeqId id, int64_t prompt_tokens) {
  absl::MutexLock lock(&mutex_);
  live_.erase(id);
  --pending_;
  pending_tokens_ -= prompt_tokens;
}

bool Admission::HandedOn(SeqId id) {
  absl::MutexLock lock(&mutex_);
  const auto live = live_.find(id);
  if (live == live_.end()) return false;  // finished already
  live->second.handed_on = true;
  return live->second.cancelled;
}

bool Admission::FirstCancel(SeqId id) {
  absl::MutexLock lock(&mutex_);
  const auto live = live_.find(id);
  if (live == live_.end() || live->second.cancelled) return false;
  live->second.cancelled = true;
  return live->second.handed_on;
}

bool Admission::FirstStop(SeqId id, int32_t choice) {
  if (choice < 0 || choice >= 64) return false;
  const uint64_t bit = uint64_t{1} << choice;
  absl::MutexLock lock(&mutex_);
  const auto live = live_.find(id);
  if (live == live_.end() || (live->second.stopped_choices & bit) != 0) return false;
  live->second.stopped_choices |= bit;
  return true;
}

void Admission::Open() {
  absl::MutexLock lock(&mutex_);
  closed_ = absl::OkStatus();
}

void Admission::Close(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  closed_ = why;
}

void Admission::Taken(int64_t prompt_tokens) {
  absl::MutexLock lock(&mutex_);
  --pending_;
  pending_tokens_ -= prompt_tokens;
  ++waiting_;
  waiting_tokens_ += prompt_tokens;
}

void Admission::SetWaiting(int32_t requests, int64_t tokens) {
  absl::MutexLock lock(&mutex_);
  waiting_ = requests;
  waiting_tokens_ = tokens;
}

void Admission::Finished(SeqId id) {
  absl::MutexLock lock(&mutex_);
  live_.erase(id);
}

}  // namespace pamir::coordinator
