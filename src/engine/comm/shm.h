// The transport between processes of one host: a region in a memfd, which has no name in any file
// system and vanishes with its last user, however that ends.
#ifndef PAMIR_ENGINE_COMM_SHM_H_
#define PAMIR_ENGINE_COMM_SHM_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/comm/owned_fd.h"
#include "engine/comm/region_communicator.h"

namespace pamir::comm {

// Made by the group's first rank, all its memory with it; RESOURCE_EXHAUSTED if the host has not
// that much. The others map it while the descriptor is open; close it once they have.
absl::StatusOr<OwnedFd> MakeSegment(const RegionShape& shape);

// Maps the segment that process `pid` holds as descriptor `fd`.
absl::StatusOr<Region> MapSegment(int pid, int fd, const RegionShape& shape);

// pids[rank of the group]. The check says UNAVAILABLE "rank 3 (pid N) has ended".
PeerCheck WatchProcesses(const GroupInfo& group, const std::vector<int>& pids);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_SHM_H_
