#include "cluster/coordinator/step_tracker.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace pamir::coordinator {

void StepTracker::Sent(StepId step, absl::Time now) { out_.push_back({step, now}); }

absl::Status StepTracker::Answered(int rank, StepId step) {
  const uint64_t index = answered_[rank] - forgotten_;
  if (index >= out_.size() || out_[index].step != step) {
    return absl::InternalError(
        absl::StrCat("it answered step ", step.value,
                     index < out_.size() ? absl::StrCat(" instead of ", out_[index].step.value)
                                         : std::string(" that nobody asked for")));
  }
  ++answered_[rank];
  const uint64_t by_all = *std::min_element(answered_.begin(), answered_.end());
  for (; forgotten_ < by_all; ++forgotten_) out_.pop_front();
  return absl::OkStatus();
}

std::optional<int> StepTracker::Late(absl::Time since) const {
  if (out_.empty() || out_.front().sent >= since) return std::nullopt;
  const auto slowest = std::min_element(answered_.begin(), answered_.end());
  return static_cast<int>(slowest - answered_.begin());
}

}  // namespace pamir::coordinator
