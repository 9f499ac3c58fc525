// A bounded queue to one consumer that should react fast: it may spin a little before it parks,
// since a parked thread of a virtual machine wakes only after 50 to 100 microseconds.
#ifndef PAMIR_BASE_WAKE_QUEUE_H_
#define PAMIR_BASE_WAKE_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/spin.h"

namespace pamir {

// Thread-safe; one thread at a time calls PopAll.
template <typename T>
class WakeQueue {
 public:
  explicit WakeQueue(size_t capacity) : capacity_(capacity) {}

  // False when full or closed; the item is dropped then. An item that does not `wake` is seen with
  // the next one that does, or when the consumer's wait ends. `keep_free` places are left for
  // producers that matter more.
  [[nodiscard]] bool TryPush(T item, bool wake = true, size_t keep_free = 0) {
    absl::MutexLock lock(&mutex_);
    if (closed_ || items_.size() + keep_free >= capacity_) return false;
    items_.push_back(std::move(item));
    if (wake) WakeLocked();
    return true;
  }

  // Ends the wait that is in progress, or the next one.
  void Wake() {
    absl::MutexLock lock(&mutex_);
    WakeLocked();
  }

  // All later pushes are refused and no PopAll waits any more.
  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    WakeLocked();
  }

  // Waits up to `timeout`, the first `spin` of it without sleeping, then takes all there is.
  std::deque<T> PopAll(absl::Duration timeout, absl::Duration spin) {
    SpinUntilWoken(spin);
    absl::MutexLock lock(&mutex_);
    const absl::Time deadline =
        woken_.load(std::memory_order_relaxed) ? absl::InfinitePast() : absl::Now() + timeout;
    while (!woken_.load(std::memory_order_relaxed)) {
      parked_ = true;
      const bool late = condition_.WaitWithDeadline(&mutex_, deadline);
      parked_ = false;
      if (late) break;
    }
    woken_.store(closed_, std::memory_order_relaxed);
    return std::exchange(items_, {});
  }

 private:
  void WakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    woken_.store(true, std::memory_order_release);
    if (parked_) condition_.Signal();
  }

  void SpinUntilWoken(absl::Duration spin) const {
    if (spin <= absl::ZeroDuration()) return;
    const absl::Time end = absl::Now() + spin;
    for (int turn = 1; !woken_.load(std::memory_order_acquire); ++turn) {
      if (turn % 16 == 0 && absl::Now() >= end) return;
      SpinPause(turn);
    }
  }

  const size_t capacity_;
  absl::Mutex mutex_;
  absl::CondVar condition_;
  std::atomic<bool> woken_{false};  // written under mutex_
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool parked_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace pamir

#endif  // PAMIR_BASE_WAKE_QUEUE_H_
