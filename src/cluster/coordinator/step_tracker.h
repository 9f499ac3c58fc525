// Which rank still owes an answer to which step. Plain state; the loop's thread.
#ifndef PAMIR_CLUSTER_COORDINATOR_STEP_TRACKER_H_
#define PAMIR_CLUSTER_COORDINATOR_STEP_TRACKER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/ids.h"

namespace pamir::coordinator {

// The sampling rank's answer is enough to plan the next step; the others may lag this far behind.
inline constexpr size_t kMaxStepsOut = 8;

class StepTracker {
 public:
  explicit StepTracker(int world_size = 0) : answered_(world_size, 0) {}

  bool CanSend() const { return out_.size() < kMaxStepsOut; }
  bool AnyOut() const { return !out_.empty(); }
  void Sent(StepId step, absl::Time now);

  // INTERNAL: not the step that this rank owes next.
  absl::Status Answered(int rank, StepId step);

  // A rank that owes an answer to a step sent before `since`.
  std::optional<int> Late(absl::Time since) const;

 private:
  struct Out {
    StepId step;
    absl::Time sent;
  };
  uint64_t forgotten_ = 0;  // steps answered by all
  std::deque<Out> out_;
  std::vector<uint64_t> answered_;  // by rank: how many steps
};

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_STEP_TRACKER_H_
