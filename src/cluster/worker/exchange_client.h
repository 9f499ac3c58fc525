// One string of every rank to every rank, over the control stream.
#ifndef PAMIR_CLUSTER_WORKER_EXCHANGE_CLIENT_H_
#define PAMIR_CLUSTER_WORKER_EXCHANGE_CLIENT_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cluster/wire/messages.h"

namespace pamir::worker {

// Thread-safe: Exchange is called by the engine's thread, the rest by the wire's.
class ExchangeClient {
 public:
  using SendFn = std::function<bool(const wire::FromWorker&)>;

  // `timeout` is the last resort; the coordinator has its own, and names who did not come.
  ExchangeClient(SendFn send, absl::Duration timeout);

  // Rounds count from 0 again.
  void BeginEpoch(Epoch epoch) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<std::string>> Exchange(const std::string& mine)
      ABSL_LOCKS_EXCLUDED(mutex_);

  void Answer(wire::Exchanged answer) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends Exchange, now and later.
  void Abort(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool AnsweredOrDead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return answer_.has_value() || !dead_.ok();
  }

  const SendFn send_;
  const absl::Duration timeout_;
  absl::Mutex mutex_;
  Epoch epoch_ ABSL_GUARDED_BY(mutex_);
  uint32_t round_ ABSL_GUARDED_BY(mutex_) = 0;  // of the next exchange, or the one that waits
  std::optional<wire::Exchanged> answer_ ABSL_GUARDED_BY(mutex_);
  absl::Status dead_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pamir::worker

#endif  // PAMIR_CLUSTER_WORKER_EXCHANGE_CLIENT_H_
