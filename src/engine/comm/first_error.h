// The error that killed a communicator: the first one wins and stays. Thread-safe. (Atomics and no
// absl::Mutex, which ThreadSanitizer cannot see into as Debian builds it.)
#ifndef PAMIR_ENGINE_COMM_FIRST_ERROR_H_
#define PAMIR_ENGINE_COMM_FIRST_ERROR_H_

#include <atomic>

#include "absl/status/status.h"

namespace pamir::comm {

class FirstError {
 public:
  // OK while nothing has failed. Costs one load.
  absl::Status Get() const { return state_.load() == kSet ? status_ : absl::OkStatus(); }

  // True if `status` is the first error; when it returns, Get() gives the first one. An OK status
  // counts as "aborted": death needs a reason.
  bool Set(const absl::Status& status) {
    int state = kNone;
    if (!state_.compare_exchange_strong(state, kWriting)) {
      state_.wait(kWriting);  // another thread is just writing the first one
      return false;
    }
    status_ = status.ok() ? absl::CancelledError("aborted") : status;
    state_.store(kSet);
    state_.notify_all();
    return true;
  }

 private:
  enum State : int { kNone, kWriting, kSet };

  std::atomic<int> state_{kNone};
  absl::Status status_;  // never changes once kSet
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_FIRST_ERROR_H_
