#include "engine/comm/connect_group.h"

#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/comm/gloo.h"
#include "engine/comm/nccl.h"
#include "engine/comm/nccl_comm.h"
#include "engine/comm/region_communicator.h"
#include "engine/comm/solo.h"
#include "engine/comm/staged.h"

namespace pamir::comm {

GroupConnection::GroupConnection(const GroupOptions& options, std::vector<int> members,
                                 const std::vector<Hello>& hellos, const NcclApi* nccl)
    : wanted_(options.transport), cuda_(options.cuda), nccl_(nccl) {
  for (size_t r = 0; r < members.size(); ++r) {
    if (members[r] == options.world_rank) group_.rank = static_cast<int>(r);
    hellos_.push_back(hellos[static_cast<size_t>(members[r])]);
  }
  group_.world_rank_of = std::move(members);
  group_.timeout = options.timeout;
  group_.spin = options.spin;
  group_.max_message_bytes = options.max_message_bytes;
}

absl::Status GroupConnection::Choose() {
  if (wanted_ == Transport::kStaged) PAMIR_RETURN_IF_ERROR(CheckOnGpus("staged"));
  if (wanted_ == Transport::kNccl) {
    kind_ = Transport::kNccl;  // also for a group of one
    return CheckNccl();
  }
  if (group_.size() == 1) return absl::OkStatus();
  if (wanted_ == Transport::kAuto && CheckNccl().ok()) {
    kind_ = Transport::kNccl;
    return absl::OkStatus();
  }
  return ChooseHost();
}

absl::Status GroupConnection::ChooseHost() {
  const absl::Status shm = CheckShm();
  const bool gloo = wanted_ == Transport::kGloo || (wanted_ != Transport::kShm && !shm.ok());
  kind_ = gloo ? Transport::kGloo : Transport::kShm;
  return gloo ? CheckGloo() : shm;
}

absl::Status GroupConnection::CheckOnGpus(const char* transport) const {
  for (int r = 0; r < group_.size(); ++r) {
    if (!hello(r).device_bus_id.empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "--transport ", transport, " is for ranks on GPUs; ", group_.RankName(r), " is on a CPU"));
  }
  return absl::OkStatus();
}

absl::Status GroupConnection::CheckNccl() const {
  PAMIR_RETURN_IF_ERROR(CheckOnGpus("nccl"));
  PAMIR_RETURN_IF_ERROR(CheckOwnGpus());
  PAMIR_RETURN_IF_ERROR(CheckNcclLibraries());
  return CheckGloo();  // NCCL meets over TCP too
}

absl::Status GroupConnection::CheckOwnGpus() const {
  for (int r = 0; r < group_.size(); ++r) {
    for (int other = 0; other < r; ++other) {
      const bool same = hello(r).machine == hello(other).machine &&
                        hello(r).device_bus_id == hello(other).device_bus_id;
      if (!same) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(group_.RankName(other), " and ", group_.RankName(r), " are on one GPU (",
                       hello(r).device_bus_id,
                       "), and NCCL wants a GPU for each rank: start each worker with a "
                       "--device of its own, or let them use --transport staged"));
    }
  }
  return absl::OkStatus();
}

absl::Status GroupConnection::CheckNcclLibraries() const {
  for (int r = 0; r < group_.size(); ++r) {
    if (hello(r).nccl_version == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(group_.RankName(r), " has no NCCL: ", hello(r).nccl_problem));
    }
    if (hello(r).nccl_version != hello(0).nccl_version) {
      return absl::InvalidArgumentError(
          absl::StrCat(group_.RankName(0), " has NCCL ", NcclVersionName(hello(0).nccl_version),
                       ", ", group_.RankName(r), " has ", NcclVersionName(hello(r).nccl_version),
                       ": all ranks need the same"));
    }
  }
  return absl::OkStatus();
}

absl::Status GroupConnection::CheckShm() const {
  if (group_.size() > kMaxRegionRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("shared memory joins up to ", kMaxRegionRanks, " ranks, not ", group_.size()));
  }
  for (int r = 1; r < group_.size(); ++r) {
    if (hello(r).host == hello(0).host) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        group_.RankName(0), " and ", group_.RankName(r),
        " share no memory: they run on different hosts, in different containers or as different "
        "users"));
  }
  return absl::OkStatus();
}

absl::Status GroupConnection::CheckGloo() const {
  for (int r = 0; r < group_.size(); ++r) {
    if (hello(r).has_interface) continue;
    for (int other = 0; other < group_.size(); ++other) {
      if (hello(other).loopback == hello(r).loopback) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          group_.RankName(other), " is on another host than ", group_.RankName(r), ", and ",
          group_.RankName(r),
          " listens on loopback only: start each worker with --data-interface and the network "
          "interface (as `ip link` names it) through which the others reach it"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Meeting> GroupConnection::Open(const GlooDevice& device) {
  Meeting meeting;
  if (kind_ == Transport::kShm && group_.rank == 0) {
    PAMIR_ASSIGN_OR_RETURN(segment_,
                           MakeSegment(ShapeFor(group_.size(), group_.max_message_bytes)));
    meeting.segment_fd = segment_.get();
  }
  if (kind_ == Transport::kGloo) {
    PAMIR_ASSIGN_OR_RETURN(mesh_, GlooMesh::Listen(device, group_));
    meeting.addresses = mesh_->addresses();
  }
  if (kind_ == Transport::kNccl && group_.rank == 0) {
    PAMIR_ASSIGN_OR_RETURN(meeting.nccl_id, MakeNcclId(*nccl_));
  }
  return meeting;
}

absl::Status GroupConnection::Join(const std::vector<Meeting>& meetings) {
  std::vector<Meeting> ours;
  for (int world_rank : group_.world_rank_of) {
    ours.push_back(meetings[static_cast<size_t>(world_rank)]);
  }
  if (kind_ == Transport::kShm) return JoinShm(ours[0]);
  if (kind_ == Transport::kGloo) return JoinGloo(ours);
  if (kind_ == Transport::kNccl) {
    PAMIR_ASSIGN_OR_RETURN(joined_, StartNccl(*nccl_, group_, *cuda_, ours[0].nccl_id));
  }
  return absl::OkStatus();
}

absl::Status GroupConnection::JoinShm(const Meeting& leader) {
  if (leader.segment_fd < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(group_.RankName(0), " offered no shared memory"));
  }
  PAMIR_ASSIGN_OR_RETURN(region_, MapSegment(hello(0).pid, leader.segment_fd,
                                             ShapeFor(group_.size(), group_.max_message_bytes)));
  return absl::OkStatus();
}

// All look at all addresses, not only at those for themselves: so all refuse together, and none
// waits for one that has refused.
absl::Status GroupConnection::CheckAddresses(const std::vector<Meeting>& meetings) const {
  const auto me = static_cast<size_t>(group_.rank);
  // Gloo's addresses have one length; anything else is not one.
  const size_t length = mesh_->addresses()[me == 0 ? 1 : 0].size();
  for (size_t r = 0; r < meetings.size(); ++r) {
    const std::vector<std::string>& theirs = meetings[r].addresses;
    bool good = theirs.size() == meetings.size();
    for (size_t peer = 0; good && peer < theirs.size(); ++peer) {
      good = theirs[peer].size() == (peer == r ? 0 : length);
    }
    if (!good) {
      return absl::InvalidArgumentError(
          absl::StrCat(group_.RankName(static_cast<int>(r)), " offered no usable address"));
    }
  }
  return absl::OkStatus();
}

absl::Status GroupConnection::JoinGloo(const std::vector<Meeting>& meetings) {
  PAMIR_RETURN_IF_ERROR(CheckAddresses(meetings));
  std::vector<std::string> peers;
  for (const Meeting& meeting : meetings) {
    peers.push_back(meeting.addresses[static_cast<size_t>(group_.rank)]);
  }
  return mesh_->Connect(peers);
}

absl::StatusOr<std::unique_ptr<Communicator>> GroupConnection::Start() {
  segment_ = OwnedFd();
  if (kind_ == Transport::kNccl) return std::move(joined_);
  if (kind_ == Transport::kAuto) return SoloCommunicator(std::move(group_), cuda_);
  const int64_t max_message_bytes = group_.max_message_bytes;
  PAMIR_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> host, StartHost());
  if (cuda_ == nullptr) return host;
  return MakeStagedCommunicator(std::move(host), *cuda_, max_message_bytes);
}

absl::StatusOr<std::unique_ptr<Communicator>> GroupConnection::StartHost() {
  if (kind_ == Transport::kGloo) return StartGloo(std::move(mesh_));
  std::vector<int> pids;
  for (const Hello& hello : hellos_) pids.push_back(hello.pid);
  PeerCheck ended = WatchProcesses(group_, pids);
  return std::make_unique<RegionCommunicator>("shm", std::move(group_), *std::move(region_),
                                              std::move(ended));
}

}  // namespace pamir::comm
