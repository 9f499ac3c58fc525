// Time as a seam: product code asks a Clock, simulations own one.
#ifndef PAMIR_BASE_CLOCK_H_
#define PAMIR_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace pamir {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

// The machine's clock; lives for ever. Thread-safe.
Clock* RealClock();

class FakeClock final : public Clock {
 public:
  explicit FakeClock(absl::Time now = absl::FromUnixSeconds(1'000'000'000)) : now_(now) {}
  absl::Time Now() const override { return now_; }
  void Advance(absl::Duration by) { now_ += by; }

 private:
  absl::Time now_;
};

}  // namespace pamir

#endif  // PAMIR_BASE_CLOCK_H_
