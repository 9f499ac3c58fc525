#include "engine/comm/wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace pamir::comm {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Not FUTEX_PRIVATE: the word may be mapped into several processes. True when the time ran out.
bool FutexWait(std::atomic<uint32_t>& word, uint32_t seen, SteadyClock::duration at_most) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(at_most).count();
  const timespec time{ns / 1'000'000'000, ns % 1'000'000'000};
  const long rc =
      syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, seen, &time, nullptr, 0);
  return rc == -1 && errno == ETIMEDOUT;
}

void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

void Ring(Doorbell& bell) {
  if (bell.parked.load() == 0) return;
  bell.rings.fetch_add(1);
  FutexWakeAll(bell.rings);
}

absl::Status ParkUntil(Doorbell& mine, const WaitOptions& options, absl::FunctionRef<bool()> ready,
                       absl::FunctionRef<absl::Status(bool slow)> check) {
  // Bounded, since "for ever" would overflow the sum.
  const auto deadline =
      SteadyClock::now() + absl::ToChronoNanoseconds(std::min(options.timeout, absl::Hours(1000)));
  bool slow = false;
  for (;;) {
    const uint32_t heard = mine.rings.load();
    mine.parked.store(1);
    if (ready()) break;
    if (absl::Status status = check(slow); !status.ok()) {
      mine.parked.store(0);
      return ready() ? absl::OkStatus() : status;
    }
    const auto left = deadline - SteadyClock::now();
    if (left <= SteadyClock::duration::zero()) {
      mine.parked.store(0);
      return absl::DeadlineExceededError("");
    }
    slow = FutexWait(mine.rings, heard, std::min<SteadyClock::duration>(left, kParkSlice));
    // Somebody rang: what is still missing is often a moment away.
    if (!slow && options.spin && SpinUntil(ready)) break;
  }
  mine.parked.store(0);
  return absl::OkStatus();
}

}  // namespace pamir::comm
