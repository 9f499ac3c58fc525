// The error that killed a communicator: the first one wins and stays. Thread-safe.
#ifndef PAMIR_ENGINE_COMM_FIRST_ERROR_H_
#define PAMIR_ENGINE_COMM_FIRST_ERROR_H_

#include <atomic>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace pamir::comm {

class FirstError {
 public:
  // OK while nothing has failed. Costs one load then.
  absl::Status Get() const {
    if (!failed_.load(std::memory_order_acquire)) return absl::OkStatus();
    absl::MutexLock lock(&mutex_);
    return status_;
  }

  // True if `status` is the first error. An OK status counts as "aborted": death needs a reason.
  bool Set(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (!status_.ok()) return false;
    status_ = status.ok() ? absl::CancelledError("aborted") : status;
    failed_.store(true, std::memory_order_release);
    return true;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Status status_;
  std::atomic<bool> failed_{false};
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_FIRST_ERROR_H_
