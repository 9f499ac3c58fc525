#include "engine/comm/operation.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::comm {

const char* Name(Operation op) {
  switch (op) {
    case Operation::kNone:
      return "nothing";
    case Operation::kConnect:
      return "connect";
    case Operation::kAllReduce:
      return "all-reduce";
    case Operation::kGather:
      return "gather";
    case Operation::kBroadcast:
      return "broadcast";
    case Operation::kSendRecv:
      return "send/recv";
    case Operation::kGaveUp:
      return "giving up";
  }
  return "an unknown operation";
}

std::string GroupInfo::RankName(int rank) const {
  return absl::StrCat("rank ", world_rank_of[static_cast<size_t>(rank)]);
}

absl::Status CheckBytes(const GroupInfo& group, Operation op, int64_t bytes) {
  if (bytes >= 0 && bytes <= group.max_message_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(Name(op), " of ", bytes,
                                                 " bytes; this group carries 0 to ",
                                                 group.max_message_bytes, " (max_message_bytes)"));
}

absl::Status CheckFloats(const GroupInfo& group, Operation op, int64_t count) {
  // Compared before multiplying: a count near the limit of int64 must not wrap around.
  const int64_t most = group.max_message_bytes / static_cast<int64_t>(sizeof(float));
  if (count >= 0 && count <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      Name(op), " of ", count, " floats; this group carries 0 to ", most, " (max_message_bytes)"));
}

absl::Status CheckRoot(const GroupInfo& group, Operation op, int root) {
  if (root >= 0 && root < group.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      Name(op), ": root ", root, " is not one of the group's ranks 0 to ", group.size() - 1));
}

absl::Status CheckPeer(const GroupInfo& group, int peer) {
  if (peer >= 0 && peer < group.size() && peer != group.rank) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("send/recv: peer ", peer, " must be one of the group's ranks 0 to ",
                   group.size() - 1, ", not ", group.rank, " itself"));
}

absl::Status CheckCounts(const GroupInfo& group, const std::vector<int64_t>& counts) {
  if (static_cast<int>(counts.size()) != group.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("gather: ", counts.size(), " counts for ", group.size(), " ranks"));
  }
  for (int64_t count : counts) {
    PAMIR_RETURN_IF_ERROR(CheckFloats(group, Operation::kGather, count));
  }
  return absl::OkStatus();
}

absl::Status DidNotCome(const GroupInfo& group, Operation op, const std::vector<int>& late) {
  std::string who;
  for (int rank : late) absl::StrAppend(&who, who.empty() ? "" : ", ", group.RankName(rank));
  return absl::DeadlineExceededError(absl::StrCat(who, " did not come to ", Name(op), " within ",
                                                  absl::FormatDuration(group.timeout)));
}

absl::Status NotTheSame(const GroupInfo& group, int peer, Operation theirs, int64_t their_bytes,
                        Operation mine, int64_t my_bytes) {
  return absl::InternalError(absl::StrCat(group.RankName(peer), " came to ", Name(theirs), " of ",
                                          their_bytes, " bytes, ", group.RankName(group.rank),
                                          " to ", Name(mine), " of ", my_bytes,
                                          " bytes: all ranks must call the same operations"));
}

}  // namespace pamir::comm
