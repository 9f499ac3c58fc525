// What the transports share: the names of the operations and the checks of their arguments.
#ifndef PAMIR_ENGINE_COMM_OPERATION_H_
#define PAMIR_ENGINE_COMM_OPERATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace pamir::comm {

// Goes over the wire; append only.
enum class Operation : uint32_t {
  kNone,
  kConnect,
  kAllReduce,
  kGather,
  kBroadcast,
  kSendRecv,
  kGaveUp
};

// "all-reduce", for messages; any value is safe.
const char* Name(Operation op);

// What each communicator knows of its group. Errors call a rank by its number in the world.
struct GroupInfo {
  int rank = 0;
  std::vector<int> world_rank_of;  // [size of the group]
  absl::Duration timeout;
  bool spin = true;
  int64_t max_message_bytes = 0;

  int size() const { return static_cast<int>(world_rank_of.size()); }
  std::string RankName(int rank) const;  // "rank 3"
};

// INVALID_ARGUMENT unless 0 <= bytes <= max_message_bytes.
absl::Status CheckBytes(const GroupInfo& group, Operation op, int64_t bytes);
absl::Status CheckFloats(const GroupInfo& group, Operation op, int64_t count);
absl::Status CheckRoot(const GroupInfo& group, Operation op, int root);
// A peer is another rank of the group.
absl::Status CheckPeer(const GroupInfo& group, int peer);
absl::Status CheckCounts(const GroupInfo& group, const std::vector<int64_t>& counts);

// DEADLINE_EXCEEDED "rank 3 did not come to all-reduce within 30s".
absl::Status DidNotCome(const GroupInfo& group, Operation op, const std::vector<int>& late);
// INTERNAL: the ranks did not call the same operation with the same size.
absl::Status NotTheSame(const GroupInfo& group, int peer, Operation theirs, int64_t their_bytes,
                        Operation mine, int64_t my_bytes);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_OPERATION_H_
