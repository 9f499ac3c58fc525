// The door of the coordinator: decides on the caller's thread, without waiting for the loop,
// whether a request is taken. Knows which requests live and how many wait.
#ifndef PAMIR_CLUSTER_COORDINATOR_ADMISSION_H_
#define PAMIR_CLUSTER_COORDINATOR_ADMISSION_H_

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "cluster/coordinator/options.h"
#include "core/flow/token_request.h"

namespace pamir::coordinator {

// Thread-safe.
class Admission {
 public:
  // Closed at first: not ready.
  explicit Admission(const CoordinatorOptions& options);

  // OK: the request lives until Finished, and waits until Taken. Else see flow::Engine::Submit, and
  // ALREADY_EXISTS.
  absl::Status Admit(const flow::TokenRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);

  // An admitted request could not be handed on after all.
  void Withdraw(SeqId id, int64_t prompt_tokens) ABSL_LOCKS_EXCLUDED(mutex_);

  // An admitted request is on its way to the loop. True where it was cancelled meanwhile: the
  // caller passes that on now.
  bool HandedOn(SeqId id) ABSL_LOCKS_EXCLUDED(mutex_);

  // True for the first of each kind, of a request that lives: more are of no use. A cancellation
  // before HandedOn is kept for it, since the loop would not know whom it means.
  bool FirstCancel(SeqId id) ABSL_LOCKS_EXCLUDED(mutex_);
  bool FirstStop(SeqId id, int32_t choice) ABSL_LOCKS_EXCLUDED(mutex_);

  // ---- the loop ----
  void Open() ABSL_LOCKS_EXCLUDED(mutex_);
  void Close(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  // An admitted request went from the inbox to the scheduler.
  void Taken(int64_t prompt_tokens) ABSL_LOCKS_EXCLUDED(mutex_);
  // What waits in the scheduler now.
  void SetWaiting(int32_t requests, int64_t tokens) ABSL_LOCKS_EXCLUDED(mutex_);
  void Finished(SeqId id) ABSL_LOCKS_EXCLUDED(mutex_);

  // How many requests may live at once.
  int32_t max_live() const { return max_waiting_ + scheduler_.max_num_seqs; }

 private:
  struct Live {
    bool handed_on = false;
    bool cancelled = false;
    uint64_t stopped_choices = 0;  // bits
  };

  absl::Status CheckPrompt(const flow::TokenRequest& request) const;
  absl::Status CheckRoom(int64_t prompt_tokens) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const sched::SchedulerOptions scheduler_;
  const int64_t vocab_;
  const int32_t max_waiting_;
  const int64_t max_waiting_tokens_;

  absl::Mutex mutex_;
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);  // OK: open
  absl::flat_hash_map<SeqId, Live> live_ ABSL_GUARDED_BY(mutex_);
  int32_t pending_ ABSL_GUARDED_BY(mutex_) = 0;  // admitted, not yet Taken
  int64_t pending_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // in the scheduler
  int64_t waiting_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_ADMISSION_H_
