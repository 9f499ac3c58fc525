// How a rank waits for another: it spins for a while, since a sleeping thread wakes only after 50
// to 100 us on a virtual machine, then parks in the kernel, so that idle costs nothing.
//
// A Doorbell lies in memory that all ranks of a group see and belongs to the one rank that waits on
// it. Whoever makes something ready first stores it, then calls Ring(); the waiter first says that
// it is parked, then looks again. Both sides use sequentially consistent atomics, so one of them
// sees the other and no wake-up is lost. (No fences: ThreadSanitizer does not understand them.)
#ifndef PAMIR_ENGINE_COMM_WAIT_H_
#define PAMIR_ENGINE_COMM_WAIT_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/spin.h"

namespace pamir::comm {

inline constexpr std::chrono::microseconds kSpinFor{50};
// A parked rank looks at this interval whether its peers still live.
inline constexpr std::chrono::milliseconds kParkSlice{100};

struct alignas(64) Doorbell {
  std::atomic<uint32_t> rings{0};   // the futex word
  std::atomic<uint32_t> parked{0};  // 1 while the owner sleeps or is about to
};
static_assert(std::atomic<uint32_t>::is_always_lock_free, "a futex word is a plain 32-bit word");
static_assert(std::atomic<uint64_t>::is_always_lock_free, "shared between processes");

// Wakes the owner if it is parked. Call after storing what it may wait for.
void Ring(Doorbell& bell);

struct WaitOptions {
  absl::Duration timeout;
  bool spin = true;
};

// Returns OK as soon as ready() holds. While parked, check(slow) is asked on every wake-up and each
// kParkSlice (slow = true then: the time for system calls); its error ends the wait, unless ready()
// turns out to hold after all: what a peer published before it ended counts. DEADLINE_EXCEEDED with
// an empty message after options.timeout.
absl::Status ParkUntil(Doorbell& mine, const WaitOptions& options, absl::FunctionRef<bool()> ready,
                       absl::FunctionRef<absl::Status(bool slow)> check);

// True if ready() came to hold within kSpinFor. Yields about every microsecond: where other work
// has pushed both ranks onto one core, the one waited for then runs at once (5 us an all-reduce,
// against the whole of kSpinFor and a wake-up, 58 us, without).
template <typename Ready>
bool SpinUntil(const Ready& ready) {
  const auto start = std::chrono::steady_clock::now();
  for (int turn = 1;; ++turn) {
    if (ready()) return true;
    CpuRelax();
    if (turn % 32 != 0) continue;
    if (std::chrono::steady_clock::now() - start > kSpinFor) return false;
    std::this_thread::yield();
  }
}

// The whole discipline: look, spin, park.
template <typename Ready, typename Check>
absl::Status WaitUntil(Doorbell& mine, const WaitOptions& options, const Ready& ready,
                       const Check& check) {
  if (ready()) return absl::OkStatus();
  if (options.spin && SpinUntil(ready)) return absl::OkStatus();
  return ParkUntil(mine, options, ready, check);
}

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_WAIT_H_
