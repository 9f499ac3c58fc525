// A stream's place in the text pool: what is pushed is handled in order, by one thread at a time,
// one hop from the pusher.
#ifndef PAMIR_GATEWAY_STRAND_H_
#define PAMIR_GATEWAY_STRAND_H_

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gateway/text_pool.h"

namespace pamir::gateway {

// Thread-safe. The strand lives inside an object that `keep` keeps alive, until all is handled.
template <typename T>
class Strand {
 public:
  // handler gets everything that came since its last call, oldest first.
  Strand(TextPool* pool, std::function<void(std::vector<T>)> handler)
      : pool_(pool), handler_(std::move(handler)) {}

  // Never blocks for longer than a push takes. Nothing happens after Close.
  void Push(T item, std::shared_ptr<void> keep) {
    absl::MutexLock lock(&mutex_);
    if (closed_) return;
    inbox_.push_back(std::move(item));
    if (scheduled_) return;
    scheduled_ = true;
    Post(std::move(keep));
  }

  // After this returns, no push reaches the pool: the pool may be destroyed once it has run what it
  // has. The handler may still be running, or run once more with nothing to do.
  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    inbox_.clear();
  }

 private:
  // Under the lock, so that Close waits for it.
  void Post(std::shared_ptr<void> keep) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    pool_->PostShort([this, keep = std::move(keep)] { Run(keep); });
  }

  void Run(const std::shared_ptr<void>& keep) {
    std::vector<T> batch;
    {
      absl::MutexLock lock(&mutex_);
      batch.swap(inbox_);
    }
    if (!batch.empty()) handler_(std::move(batch));
    absl::MutexLock lock(&mutex_);
    if (inbox_.empty()) {
      scheduled_ = false;
    } else {
      Post(keep);  // behind the others, so that one busy stream starves nobody
    }
  }

  TextPool* const pool_;
  const std::function<void(std::vector<T>)> handler_;
  absl::Mutex mutex_;
  std::vector<T> inbox_ ABSL_GUARDED_BY(mutex_);  // at most the tokens that the request may have
  bool scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_STRAND_H_
