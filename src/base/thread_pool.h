// The kernel pool: a fixed set of threads that run one loop together, many thousand times a second.
//
// On a virtual machine a parked thread wakes after 50 to 100 microseconds, which is longer than a
// small product takes. So a helper spins for up to `spin` after its last loop, then parks: idle
// costs nothing. One thread calls ParallelFor at a time (the engine's thread); it takes part
// itself.
#ifndef PAMIR_BASE_THREAD_POOL_H_
#define PAMIR_BASE_THREAD_POOL_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"

namespace pamir {

class ThreadPool {
 public:
  // `threads` counts the caller: 1 means no helpers at all.
  explicit ThreadPool(int threads, absl::Duration spin = absl::Microseconds(50));
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls body(part) once for each part in [0, parts), part p on thread p % threads(), and returns
  // when all are done. Which thread runs a part never changes a result: a part's outputs are its
  // own. body must not throw and must not call ParallelFor.
  void ParallelFor(int parts, absl::FunctionRef<void(int part)> body);

 private:
  void HelperMain(int index);
  bool SpinUntilNewLoop(uint32_t seen) const;

  const int threads_;
  const absl::Duration spin_;
  std::vector<std::thread> helpers_;
  std::atomic<uint32_t> generation_{0};  // of the current loop; grows by one; waited on (futex)
  std::atomic<int> pending_{0};          // helpers that have not finished the current loop
  std::atomic<bool> stop_{false};
  int parts_ = 0;
  const absl::FunctionRef<void(int)>* body_ = nullptr;
};

}  // namespace pamir

#endif  // PAMIR_BASE_THREAD_POOL_H_
