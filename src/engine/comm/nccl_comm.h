// An NCCL communicator as RAII: joined and left within a deadline, ended from any thread. NCCL
// itself allows neither two threads in one communicator nor a call after its end: a lock sees to
// both. It is held for moments only, since the communicator is non-blocking.
#ifndef PAMIR_ENGINE_COMM_NCCL_COMM_H_
#define PAMIR_ENGINE_COMM_NCCL_COMM_H_

#include <memory>
#include <mutex>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/comm/first_error.h"
#include "engine/comm/nccl_api.h"
#include "engine/comm/operation.h"

namespace pamir::comm {

// A new id for a group, from its first rank.
absl::StatusOr<std::string> MakeNcclId(const NcclApi& api);

class NcclComm {
 public:
  // All ranks of the group, with the same id, on the calling thread's device. DEADLINE_EXCEEDED
  // after group.timeout, naming the ranks of which one or more did not come; NCCL does not say
  // which.
  static absl::StatusOr<std::unique_ptr<NcclComm>> Join(const NcclApi& api, const GroupInfo& group,
                                                        const std::string& id);
  // Waits for what is queued; ends it where that takes longer than group.timeout.
  ~NcclComm();
  NcclComm(const NcclComm&) = delete;
  NcclComm& operator=(const NcclComm&) = delete;

  // Makes the calls as one NCCL group: they return what NCCL returned. Comes back once all of it is
  // queued on its streams. An error, also one that NCCL met since the last call, ends the
  // communicator.
  absl::Status Run(Operation op, absl::FunctionRef<int(void* comm)> calls);

  absl::Status error() const { return error_.Get(); }
  // From any thread: ends kernels that wait for peers, and all later calls, with `why`; the first
  // one counts. Returns what counts.
  absl::Status Fail(const absl::Status& why);

 private:
  NcclComm(const NcclApi& api, const GroupInfo& group) : api_(api), group_(group) {}

  absl::Status Init(const std::string& id);
  int StateLocked();
  int GroupLocked(absl::FunctionRef<int(void* comm)> calls);
  // Until NCCL is no longer "in progress".
  absl::Status Settle(Operation op);
  absl::Status NcclError(Operation op, int error) const;
  absl::Status TooLate(Operation op) const;

  const NcclApi& api_;
  const GroupInfo group_;
  std::mutex mutex_;
  void* comm_ = nullptr;  // null once it has ended
  FirstError error_;
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_NCCL_COMM_H_
