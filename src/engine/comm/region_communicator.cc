// Life and death of the communicator, waiting for peers, messages through the rings. The
// collectives are in region_collectives.cc.
#include "engine/comm/region_communicator.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/comm/gather_messages.h"

namespace pamir::comm {

RegionCommunicator::RegionCommunicator(const char* transport, GroupInfo group, Region region,
                                       PeerCheck ended)
    : transport_(transport),
      group_(std::move(group)),
      wait_{group_.timeout, group_.spin},
      region_(std::move(region)),
      ended_(std::move(ended)),
      parts_(static_cast<size_t>(group_.size())) {}

RegionCommunicator::~RegionCommunicator() {
  if (error_.Get().ok()) LeaveAs(RankState::kLeft, absl::OkStatus());
}

void RegionCommunicator::LeaveAs(RankState state, const absl::Status& why) {
  RankLines& mine = region_.rank(group_.rank);
  const std::string reason(why.message());
  const size_t bytes = std::min(reason.size(), kReasonBytes - 1);
  std::memcpy(mine.reason, reason.data(), bytes);
  mine.state.store(state);
  for (int r = 0; r < group_.size(); ++r) Ring(region_.rank(r).bell);
}

void RegionCommunicator::Abort(const absl::Status& why) {
  // The engine's thread, if it waits, is parked or will be within kSpinFor; LeaveAs wakes it too.
  if (error_.Set(why)) LeaveAs(RankState::kFailed, why);
}

absl::Status RegionCommunicator::Settle(absl::Status status) {
  if (status.ok()) return status;
  if (error_.Set(status)) LeaveAs(RankState::kFailed, status);
  return error_.Get();
}

absl::Status RegionCommunicator::PeerStateError(int peer) const {
  const RankLines& lines = region_.rank(peer);
  switch (lines.state.load()) {
    case RankState::kRunning:
      return absl::OkStatus();
    case RankState::kLeft:
      return absl::UnavailableError(absl::StrCat(group_.RankName(peer), " has left the group"));
    case RankState::kFailed:
      break;
  }
  const std::string reason(lines.reason, strnlen(lines.reason, kReasonBytes));
  return absl::UnavailableError(absl::StrCat(group_.RankName(peer), " gave up: ", reason));
}

absl::Status RegionCommunicator::CheckPeers(bool slow, const std::vector<int>& missing) const {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  for (int peer : missing) {
    PAMIR_RETURN_IF_ERROR(PeerStateError(peer));
    if (slow && ended_) PAMIR_RETURN_IF_ERROR(ended_(peer));
  }
  return absl::OkStatus();
}

absl::Status RegionCommunicator::Await(Operation op, int from,
                                       absl::FunctionRef<bool(int rank)> arrived) {
  const int first = from == kAllRanks ? 0 : from;
  const int last = from == kAllRanks ? group_.size() - 1 : from;
  const auto ready = [&] {
    for (int r = first; r <= last; ++r) {
      if (r != group_.rank && !arrived(r)) return false;
    }
    return true;
  };
  const auto missing = [&] {
    std::vector<int> ranks;
    for (int r = first; r <= last; ++r) {
      if (r != group_.rank && !arrived(r)) ranks.push_back(r);
    }
    return ranks;
  };
  const auto check = [&](bool slow) { return CheckPeers(slow, missing()); };
  absl::Status status = WaitUntil(region_.rank(group_.rank).bell, wait_, ready, check);
  if (!absl::IsDeadlineExceeded(status) || !status.message().empty()) return status;
  const std::vector<int> late = missing();
  return late.empty() ? absl::OkStatus() : DidNotCome(group_, op, late);
}

absl::Status RegionCommunicator::Send(int peer, const void* data, int64_t bytes, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckPeer(group_, peer);
  if (status.ok()) status = CheckBytes(group_, Operation::kSendRecv, bytes);
  if (status.ok()) {
    status = SendMessage(Operation::kSendRecv, peer, static_cast<const char*>(data), bytes);
  }
  return Settle(std::move(status));
}

absl::Status RegionCommunicator::Recv(int peer, void* data, int64_t bytes, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckPeer(group_, peer);
  if (status.ok()) status = CheckBytes(group_, Operation::kSendRecv, bytes);
  if (status.ok())
    status = RecvMessage(Operation::kSendRecv, peer, static_cast<char*>(data), bytes);
  return Settle(std::move(status));
}

absl::Status RegionCommunicator::Gather(int root, const float* mine,
                                        const std::vector<int64_t>& counts, float* all, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckRoot(group_, Operation::kGather, root);
  if (status.ok()) status = CheckCounts(group_, counts);
  if (status.ok()) status = GatherMessages(root, mine, counts, all);
  return Settle(std::move(status));
}

absl::Status RegionCommunicator::GatherMessages(int root, const float* mine,
                                                const std::vector<int64_t>& counts, float* all) {
  return GatherByMessages(
      rank(), root, mine, counts, all,
      [this](int peer, const char* data, int64_t bytes) {
        return SendMessage(Operation::kGather, peer, data, bytes);
      },
      [this](int peer, char* data, int64_t bytes) {
        return RecvMessage(Operation::kGather, peer, data, bytes);
      });
}

namespace {

// In front of each message in a ring.
struct MessageHeader {
  uint32_t operation = 0;
  uint32_t reserved = 0;
  int64_t bytes = 0;
};

}  // namespace

absl::Status RegionCommunicator::SendMessage(Operation op, int peer, const char* data,
                                             int64_t bytes) {
  const MessageHeader header{static_cast<uint32_t>(op), 0, bytes};
  PAMIR_RETURN_IF_ERROR(Push(op, peer, reinterpret_cast<const char*>(&header), sizeof(header)));
  return Push(op, peer, data, bytes);
}

absl::Status RegionCommunicator::RecvMessage(Operation op, int peer, char* data, int64_t bytes) {
  MessageHeader header;
  PAMIR_RETURN_IF_ERROR(Pull(op, peer, reinterpret_cast<char*>(&header), sizeof(header)));
  if (header.operation != static_cast<uint32_t>(op) || header.bytes != bytes) {
    return NotTheSame(group_, peer, static_cast<Operation>(header.operation), header.bytes, op,
                      bytes);
  }
  return Pull(op, peer, data, bytes);
}

// What a peer wrote is checked before it becomes a length to copy.
absl::Status RegionCommunicator::CheckRing(int peer, uint64_t written, uint64_t read) const {
  if (written - read <= static_cast<uint64_t>(region_.shape().ring_bytes)) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the counters of the ring shared with ", group_.RankName(peer), " are broken"));
}

absl::Status RegionCommunicator::Push(Operation op, int peer, const char* data, int64_t bytes) {
  RingLines& ring = region_.ring(group_.rank, peer);
  char* const memory = region_.ring_data(group_.rank, peer);
  const int64_t capacity = region_.shape().ring_bytes;
  uint64_t written = ring.written.load();
  while (bytes > 0) {
    // Half a ring at a time: neither side pays a wake-up for a few bytes.
    const auto wanted = static_cast<uint64_t>(std::min(bytes, capacity / 2));
    PAMIR_RETURN_IF_ERROR(Await(op, peer, [&](int) {
      return static_cast<uint64_t>(capacity) - (written - ring.read.load()) >= wanted;
    }));
    const uint64_t read = ring.read.load();
    PAMIR_RETURN_IF_ERROR(CheckRing(peer, written, read));
    const auto at = static_cast<int64_t>(written % static_cast<uint64_t>(capacity));
    const int64_t free = capacity - static_cast<int64_t>(written - read);
    const int64_t piece = std::min({bytes, free, capacity - at});
    std::memcpy(memory + at, data, static_cast<size_t>(piece));
    data += piece;
    bytes -= piece;
    written += static_cast<uint64_t>(piece);
    ring.written.store(written);
    Ring(region_.rank(peer).bell);
  }
  return absl::OkStatus();
}

absl::Status RegionCommunicator::Pull(Operation op, int peer, char* data, int64_t bytes) {
  RingLines& ring = region_.ring(peer, group_.rank);
  const char* const memory = region_.ring_data(peer, group_.rank);
  const int64_t capacity = region_.shape().ring_bytes;
  uint64_t read = ring.read.load();
  while (bytes > 0) {
    PAMIR_RETURN_IF_ERROR(Await(op, peer, [&](int) { return ring.written.load() != read; }));
    const uint64_t written = ring.written.load();
    PAMIR_RETURN_IF_ERROR(CheckRing(peer, written, read));
    const auto at = static_cast<int64_t>(read % static_cast<uint64_t>(capacity));
    const int64_t piece = std::min({bytes, static_cast<int64_t>(written - read), capacity - at});
    std::memcpy(data, memory + at, static_cast<size_t>(piece));
    data += piece;
    bytes -= piece;
    read += static_cast<uint64_t>(piece);
    ring.read.store(read);
    Ring(region_.rank(peer).bell);
  }
  return absl::OkStatus();
}

}  // namespace pamir::comm
