#include "engine/weights/progress.h"

#include "absl/time/clock.h"

namespace pamir::weights {
namespace {

constexpr absl::Duration kReportInterval = absl::Milliseconds(100);

}  // namespace

void ProgressMeter::Add(int64_t bytes) {
  if (report_ == nullptr) return;
  absl::MutexLock lock(&mutex_);
  progress_.bytes_done += bytes;
  if (progress_.bytes_done >= progress_.bytes_total) return;  // Finish reports that
  const absl::Time now = absl::Now();
  if (now < next_report_) return;
  next_report_ = now + kReportInterval;
  report_(progress_);
}

void ProgressMeter::Finish() {
  if (report_ == nullptr) return;
  absl::MutexLock lock(&mutex_);
  progress_.bytes_done = progress_.bytes_total;
  report_(progress_);
}

}  // namespace pamir::weights
