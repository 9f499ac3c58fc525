// The Communicator over a shared Region; the same for threads of one process and for processes of
// one host, which differ only in where the memory comes from and how a dead peer is noticed.
#ifndef PAMIR_ENGINE_COMM_REGION_COMMUNICATOR_H_
#define PAMIR_ENGINE_COMM_REGION_COMMUNICATOR_H_

#include <functional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "engine/comm/communicator.h"
#include "engine/comm/first_error.h"
#include "engine/comm/operation.h"
#include "engine/comm/region.h"

namespace pamir::comm {

// An error if the process of that rank of the group has ended. Costs system calls.
using PeerCheck = std::function<absl::Status(int rank)>;

class RegionCommunicator final : public Communicator {
 public:
  // `ended` may be null.
  RegionCommunicator(const char* transport, GroupInfo group, Region region, PeerCheck ended);
  ~RegionCommunicator() override;

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size(); }
  const char* transport() const override { return transport_; }
  absl::Status AllReduce(float* data, int64_t count, StreamRef stream) override;
  absl::Status Gather(int root, const float* mine, const std::vector<int64_t>& counts, float* all,
                      StreamRef stream) override;
  absl::Status Broadcast(int root, void* data, int64_t bytes, StreamRef stream) override;
  absl::Status Send(int peer, const void* data, int64_t bytes, StreamRef stream) override;
  absl::Status Recv(int peer, void* data, int64_t bytes, StreamRef stream) override;
  void Abort(const absl::Status& why) override;

 private:
  // Collectives, by steps through the slots (region_collectives.cc).
  absl::Status ReduceDirect(float* data, int64_t count);
  absl::Status ReduceScattered(float* data, int64_t count);
  absl::Status BroadcastSteps(int root, char* data, int64_t bytes);
  absl::Status OpenStep(Operation op, int64_t total);
  void PublishStep();
  absl::Status AwaitStep(Operation op, int64_t total, int from);
  char* MySlot() const { return region_.slot(group_.rank, step_); }
  const std::vector<const float*>& PartsAt(int64_t offset_bytes);

  // Messages, through the rings.
  absl::Status SendMessage(Operation op, int peer, const char* data, int64_t bytes);
  absl::Status RecvMessage(Operation op, int peer, char* data, int64_t bytes);
  absl::Status Push(Operation op, int peer, const char* data, int64_t bytes);
  absl::Status Pull(Operation op, int peer, char* data, int64_t bytes);
  absl::Status CheckRing(int peer, uint64_t written, uint64_t read) const;
  absl::Status GatherMessages(int root, const float* mine, const std::vector<int64_t>& counts,
                              float* all);

  // Waits until arrived(rank) holds for `from`, or for all other ranks.
  absl::Status Await(Operation op, int from, absl::FunctionRef<bool(int rank)> arrived);
  absl::Status CheckPeers(bool slow, const std::vector<int>& missing) const;
  absl::Status PeerStateError(int peer) const;

  // Remembers an error as the communicator's end and tells the peers. Returns what is remembered.
  absl::Status Settle(absl::Status status);
  void LeaveAs(RankState state, const absl::Status& why);

  static constexpr int kAllRanks = -1;

  const char* const transport_;
  const GroupInfo group_;
  const WaitOptions wait_;
  Region region_;
  const PeerCheck ended_;
  FirstError error_;
  uint64_t step_ = 0;                // of collectives, as this rank counts them
  std::vector<const float*> parts_;  // [size], reused
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_REGION_COMMUNICATOR_H_
