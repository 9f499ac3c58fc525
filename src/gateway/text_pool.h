// A few threads for the work on text that no I/O thread and not the coordinator should do:
// tokenizing prompts (long: a megabyte takes a while) and turning tokens into chunks (short,
// often).
#ifndef PAMIR_GATEWAY_TEXT_POOL_H_
#define PAMIR_GATEWAY_TEXT_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace pamir::gateway {

// Thread-safe. Short jobs go first, and long ones never hold all threads, so that a megabyte of
// prompt delays nobody's tokens.
class TextPool {
 public:
  // At least 2 threads are started; at most `max_long_jobs` long jobs wait.
  TextPool(int threads, size_t max_long_jobs);
  // Runs what is queued, then joins. Nobody may post any more.
  ~TextPool();
  TextPool(const TextPool&) = delete;
  TextPool& operator=(const TextPool&) = delete;

  // False when too many wait; the job is dropped then.
  [[nodiscard]] bool TryPostLong(std::function<void()> job);

  // Never refused: a stream has at most one of these queued (see Strand), and streams are limited.
  void PostShort(std::function<void()> job);

 private:
  void ThreadMain();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_long_jobs_;
  const int max_long_running_;  // one thread is always left to short jobs
  mutable absl::Mutex mutex_;
  std::deque<std::function<void()>> short_jobs_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::function<void()>> long_jobs_ ABSL_GUARDED_BY(mutex_);
  int long_running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_TEXT_POOL_H_
