#include "gateway/gate.h"

#include "absl/strings/str_cat.h"

namespace pamir::gateway {

Outcome<Gate::Ticket> Gate::Enter() {
  absl::MutexLock lock(&mutex_);
  if (closed_) {
    return ApiError{ErrorCode::kDraining, "the server is draining; ask another one", ""};
  }
  if (inside_ >= max_inside_) {
    return ApiError{ErrorCode::kOverloaded,
                    absl::StrCat("the server has ", inside_, " calls, its limit; try again later"),
                    ""};
  }
  ++inside_;
  return Ticket(this);
}

void Gate::Leave() {
  absl::MutexLock lock(&mutex_);
  --inside_;
}

void Gate::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

bool Gate::closed() const {
  absl::MutexLock lock(&mutex_);
  return closed_;
}

bool Gate::WaitEmpty(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithDeadline(absl::Condition(this, &Gate::Empty), deadline);
}

}  // namespace pamir::gateway
