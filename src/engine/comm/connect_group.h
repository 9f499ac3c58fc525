// One group on its way from the greetings to a Communicator. The steps are called by all its ranks;
// between Open and Join, and between Join and Start, all ranks exchange what came of it.
#ifndef PAMIR_ENGINE_COMM_CONNECT_GROUP_H_
#define PAMIR_ENGINE_COMM_CONNECT_GROUP_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/comm/communicator.h"
#include "engine/comm/connect_blobs.h"
#include "engine/comm/gloo_mesh.h"
#include "engine/comm/nccl_api.h"
#include "engine/comm/operation.h"
#include "engine/comm/shm.h"

namespace pamir::comm {

class GroupConnection {
 public:
  // members: world ranks, ascending, this rank among them. hellos: [world size]. nccl: null where
  // this rank has none.
  GroupConnection(const GroupOptions& options, std::vector<int> members,
                  const std::vector<Hello>& hellos, const NcclApi* nccl);

  // Settles kind(), the same on all members: as Transport says. INVALID_ARGUMENT where what was
  // asked for, or all of it, is impossible.
  absl::Status Choose();
  // kAuto: a group of one needs none. kShm, kGloo: staged over it on a GPU.
  Transport kind() const { return kind_; }

  // What the others need to meet this rank. `device` may be null if kind() is not kGloo.
  absl::StatusOr<Meeting> Open(const GlooDevice& device);
  // meetings: [world size].
  absl::Status Join(const std::vector<Meeting>& meetings);
  absl::StatusOr<std::unique_ptr<Communicator>> Start();

 private:
  const Hello& hello(int r) const { return hellos_[static_cast<size_t>(r)]; }
  absl::Status ChooseHost();
  absl::Status CheckShm() const;
  absl::Status CheckGloo() const;
  absl::Status CheckOnGpus(const char* transport) const;
  absl::Status CheckNccl() const;
  absl::Status CheckNcclLibraries() const;
  absl::Status CheckOwnGpus() const;
  absl::Status JoinShm(const Meeting& leader);
  absl::Status CheckAddresses(const std::vector<Meeting>& meetings) const;
  absl::Status JoinGloo(const std::vector<Meeting>& meetings);
  absl::StatusOr<std::unique_ptr<Communicator>> StartHost();

  const Transport wanted_;
  const device::CudaDevice* const cuda_;
  const NcclApi* const nccl_;
  GroupInfo group_;
  std::vector<Hello> hellos_;  // [group size]
  Transport kind_ = Transport::kAuto;
  OwnedFd segment_;  // the leader's, open until all have mapped it
  std::optional<Region> region_;
  std::unique_ptr<GlooMesh> mesh_;
  std::unique_ptr<Communicator> joined_;  // NCCL's
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_CONNECT_GROUP_H_
