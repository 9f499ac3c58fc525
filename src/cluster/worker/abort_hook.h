// One callback that ends a wait from another thread, at most once.
#ifndef PAMIR_CLUSTER_WORKER_ABORT_HOOK_H_
#define PAMIR_CLUSTER_WORKER_ABORT_HOOK_H_

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace pamir::worker {

// Thread-safe. The callback runs under the hook's lock, so that it is not running once Clear has
// returned and what it refers to may be destroyed.
class AbortHook {
 public:
  using Callback = std::function<void(const absl::Status& why)>;

  void Set(Callback callback) {
    absl::MutexLock lock(&mutex_);
    callback_ = std::move(callback);
    if (!why_.ok()) CallLocked();
  }

  void Clear() {
    absl::MutexLock lock(&mutex_);
    callback_ = nullptr;
  }

  // The first reason counts. `why` must not be OK.
  void Fire(const absl::Status& why) {
    absl::MutexLock lock(&mutex_);
    if (!why_.ok()) return;
    why_ = why;
    CallLocked();
  }

 private:
  void CallLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (callback_) std::exchange(callback_, nullptr)(why_);
  }

  absl::Mutex mutex_;
  Callback callback_ ABSL_GUARDED_BY(mutex_);
  absl::Status why_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pamir::worker

#endif  // PAMIR_CLUSTER_WORKER_ABORT_HOOK_H_
