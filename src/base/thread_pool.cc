#include "base/thread_pool.h"

#include "absl/time/clock.h"
#include "base/check.h"
#include "base/spin.h"

namespace pamir {

ThreadPool::ThreadPool(int threads, absl::Duration spin) : threads_(threads), spin_(spin) {
  PAMIR_CHECK(threads >= 1, "a pool has at least the calling thread");
  helpers_.reserve(threads - 1);
  for (int i = 1; i < threads; ++i) helpers_.emplace_back([this, i] { HelperMain(i); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::ParallelFor(int parts, absl::FunctionRef<void(int)> body) {
  const int stride = threads_;
  if (stride == 1 || parts <= 1) {
    for (int part = 0; part < parts; ++part) body(part);
    return;
  }
  parts_ = parts;
  body_ = &body;
  pending_.store(stride - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (int part = 0; part < parts; part += stride) body(part);
  // The helpers run now or the machine is oversubscribed; either way they end soon.
  for (int turn = 0; pending_.load(std::memory_order_acquire) != 0; ++turn) SpinPause(turn);
  body_ = nullptr;
}

bool ThreadPool::SpinUntilNewLoop(uint32_t seen) const {
  const absl::Time until = absl::Now() + spin_;
  for (int turn = 0;; ++turn) {
    if (generation_.load(std::memory_order_acquire) != seen) return true;
    CpuRelax();
    if ((turn & 63) == 63 && absl::Now() >= until) return false;
  }
}

void ThreadPool::HelperMain(int index) {
  uint32_t seen = 0;
  while (true) {
    if (!SpinUntilNewLoop(seen)) generation_.wait(seen, std::memory_order_acquire);
    if (generation_.load(std::memory_order_acquire) == seen) continue;
    ++seen;  // the caller waits for every helper before it starts the next loop
    if (stop_.load(std::memory_order_relaxed)) return;
    for (int part = index; part < parts_; part += threads_) (*body_)(part);
    pending_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

}  // namespace pamir
