// Counts the calls that are inside, refuses those beyond a limit, and closes for good when the
// server drains.
#ifndef PAMIR_GATEWAY_GATE_H_
#define PAMIR_GATEWAY_GATE_H_

#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gateway/outcome.h"

namespace pamir::gateway {

// Thread-safe; outlives its tickets.
class Gate {
 public:
  // One call's place; given back when it goes.
  class Ticket {
   public:
    explicit Ticket(Gate* gate) : gate_(gate) {}
    Ticket(Ticket&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (gate_ != nullptr) gate_->Leave();
    }

   private:
    Gate* gate_;
  };

  explicit Gate(int max_inside) : max_inside_(max_inside) {}

  // kOverloaded beyond the limit, kDraining once closed.
  Outcome<Ticket> Enter();
  void Close();
  // True when nobody is inside; waits until `deadline` for it.
  bool WaitEmpty(absl::Time deadline);
  bool closed() const;

 private:
  void Leave();
  bool Empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return inside_ == 0; }

  const int max_inside_;
  mutable absl::Mutex mutex_;
  int inside_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GATE_H_
