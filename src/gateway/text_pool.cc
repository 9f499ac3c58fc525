#include "gateway/text_pool.h"

#include <algorithm>
#include <utility>

namespace pamir::gateway {

TextPool::TextPool(int threads, size_t max_long_jobs)
    : max_long_jobs_(max_long_jobs), max_long_running_(std::max(threads, 2) - 1) {
  for (int i = 0; i < std::max(threads, 2); ++i) threads_.emplace_back([this] { ThreadMain(); });
}

TextPool::~TextPool() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool TextPool::TryPostLong(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  if (long_jobs_.size() >= max_long_jobs_) return false;
  long_jobs_.push_back(std::move(job));
  return true;
}

void TextPool::PostShort(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  short_jobs_.push_back(std::move(job));
}

bool TextPool::HasWork() const {
  return stop_ || !short_jobs_.empty() ||
         (!long_jobs_.empty() && long_running_ < max_long_running_);
}

void TextPool::ThreadMain() {
  while (true) {
    std::function<void()> job;
    bool is_long = false;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &TextPool::HasWork));
      if (!short_jobs_.empty()) {
        job = std::move(short_jobs_.front());
        short_jobs_.pop_front();
      } else if (!long_jobs_.empty() && (stop_ || long_running_ < max_long_running_)) {
        job = std::move(long_jobs_.front());
        long_jobs_.pop_front();
        ++long_running_;
        is_long = true;
      } else {
        return;  // stopped, and nothing is left
      }
    }
    job();
    job = nullptr;  // what it held goes before anybody sees it as done
    if (is_long) {
      absl::MutexLock lock(&mutex_);
      --long_running_;
    }
  }
}

}  // namespace pamir::gateway
