// Collectives and messages between the ranks of a group. One implementation a transport; which one
// a group gets is decided when it connects.
//
// Contract (docs/ARCHITECTURE.md, "one arithmetic"): AllReduce gives ((p0 + p1) + p2) + ... in fp32
// in rank order for every element, whatever the size, on every transport. All ranks call the same
// operations in the same order. Every operation has a deadline; an error names the rank that did
// not come. After an error the communicator is dead: every later call returns the same error.
#ifndef PAMIR_ENGINE_COMM_COMMUNICATOR_H_
#define PAMIR_ENGINE_COMM_COMMUNICATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/stream.h"

namespace pamir::device {
class CudaDevice;
}

namespace pamir::comm {

// Called from one thread (the engine's), but for Abort. Buffers are the caller's. On a GPU they are
// device memory, floats 16-byte aligned, and the call is queued on `stream`: a return says that it
// is queued, not that it is done; what went wrong since shows at the next call. The device is the
// calling thread's (CudaDevice::Use).
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // "shm", "gloo", "threads", "nccl", "staged-shm", for logs and GetStatus.
  virtual const char* transport() const = 0;
  // May its operations be captured into a CUDA graph? Such graphs end before the communicator.
  virtual bool capturable() const { return false; }

  // In place, sum of `count` floats in rank order.
  virtual absl::Status AllReduce(float* data, int64_t count, StreamRef stream) = 0;

  // Root receives, one behind the other in rank order, each rank's counts[rank] floats in `all`.
  virtual absl::Status Gather(int root, const float* mine, const std::vector<int64_t>& counts,
                              float* all, StreamRef stream) = 0;

  virtual absl::Status Broadcast(int root, void* data, int64_t bytes, StreamRef stream) = 0;

  // Matched in order between each pair of ranks. Send may return before the peer has received.
  virtual absl::Status Send(int peer, const void* data, int64_t bytes, StreamRef stream) = 0;
  virtual absl::Status Recv(int peer, void* data, int64_t bytes, StreamRef stream) = 0;

  // From any thread: ends whatever waits, and all later calls, with `why`.
  virtual void Abort(const absl::Status& why) = 0;
};

// Brings one string from every rank of the world to every rank; rank order. The control plane gives
// this (cluster/worker), tests give one over threads. Its error names the ranks that did not come.
using ExchangeFn = std::function<absl::StatusOr<std::vector<std::string>>(const std::string& mine)>;

// Goes over the wire; append only.
enum class Transport : uint8_t {
  // On GPUs: NCCL where each rank of the group has a GPU of its own and can open NCCL. Otherwise
  // shared memory where all ranks are on one host, else Gloo; GPU ranks staged over these.
  kAuto,
  kShm,  // GPU ranks: staged over it
  kGloo,
  kNccl,
  kStaged,  // through pinned memory of the host, over what kAuto gives ranks on CPUs
};

struct GroupOptions {
  int world_rank = 0;
  std::vector<int> stage_of_rank;  // [world size]
  Transport transport = Transport::kAuto;
  // Network interface for Gloo and NCCL ("eth1"); empty = loopback only, and then a peer on another
  // host is refused with a message that names --data-interface.
  std::string data_interface;
  absl::Duration timeout = absl::Seconds(30);
  int64_t max_message_bytes = 0;  // the largest buffer that any operation will carry
  bool spin = true;               // false where the host has fewer cores than ranks: park at once
  // A rank on a GPU: outlives the groups; null on CPUs. The bus id tells whether ranks of one host
  // share a GPU; empty: as the device says.
  const device::CudaDevice* cuda = nullptr;
  std::string device_bus_id;
};

// The two groups of a rank: its stage's tensor-parallel ranks, and all ranks (stage to stage).
struct Groups {
  std::shared_ptr<Communicator> stage;  // shared with whoever may have to Abort it
  std::shared_ptr<Communicator> world;
};
absl::StatusOr<Groups> ConnectGroups(const GroupOptions& options, const ExchangeFn& exchange);

// n communicators for n threads of this process, for simulations and tests.
std::vector<std::unique_ptr<Communicator>> ThreadGroup(int n, absl::Duration timeout);

// Identifies the host, as far as shared memory reaches: boot id and network namespace.
std::string HostIdentity();

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_COMMUNICATOR_H_
