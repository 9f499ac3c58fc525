// Counts bytes from several threads and reports them now and then.
#ifndef PAMIR_ENGINE_WEIGHTS_PROGRESS_H_
#define PAMIR_ENGINE_WEIGHTS_PROGRESS_H_

#include <cstdint>
#include <functional>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/weights/rank_weights.h"

namespace pamir::weights {

class ProgressMeter {
 public:
  // `report` may be null. It is called with a lock held, at most ten times a second.
  ProgressMeter(int64_t bytes_total, const std::function<void(LoadProgress)>& report)
      : report_(report), progress_{0, bytes_total} {}

  void Add(int64_t bytes);
  // The last report; once, when all is done.
  void Finish();

 private:
  const std::function<void(LoadProgress)>& report_;
  absl::Mutex mutex_;
  LoadProgress progress_;
  absl::Time next_report_ = absl::InfinitePast();
};

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_PROGRESS_H_
