// Collectives through the slots, in steps. In step k a rank writes its slot k % 2, publishes k,
// waits for the others' k and reads their slots. It may write step k only when all have published k
// - 1: they have then finished reading step k - 2, which lay in the same slot.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "base/units.h"
#include "engine/comm/rank_sum.h"
#include "engine/comm/region_communicator.h"

namespace pamir::comm {
namespace {

// Up to here every rank sums everything itself: one step instead of two. With two ranks that moves
// fewer bytes at every size.
constexpr int64_t kDirectBytes = 32 * 1024;
constexpr int64_t kFloat = sizeof(float);

}  // namespace

absl::Status RegionCommunicator::AllReduce(float* data, int64_t count, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckFloats(group_, Operation::kAllReduce, count);
  if (status.ok() && count > 0) {
    const bool direct = size() <= 2 || count * kFloat <= kDirectBytes;
    status = direct ? ReduceDirect(data, count) : ReduceScattered(data, count);
  }
  return Settle(std::move(status));
}

absl::Status RegionCommunicator::Broadcast(int root, void* data, int64_t bytes, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckRoot(group_, Operation::kBroadcast, root);
  if (status.ok()) status = CheckBytes(group_, Operation::kBroadcast, bytes);
  if (status.ok()) status = BroadcastSteps(root, static_cast<char*>(data), bytes);
  return Settle(std::move(status));
}

absl::Status RegionCommunicator::OpenStep(Operation op, int64_t total) {
  ++step_;
  PAMIR_RETURN_IF_ERROR(
      Await(op, kAllRanks, [&](int r) { return region_.rank(r).step.load() + 1 >= step_; }));
  SlotHeader& header = region_.slot_header(rank(), step_);
  header.operation = static_cast<uint32_t>(op);
  header.bytes = total;
  return absl::OkStatus();
}

void RegionCommunicator::PublishStep() {
  region_.rank(rank()).step.store(step_);
  for (int r = 0; r < size(); ++r) {
    if (r != rank()) Ring(region_.rank(r).bell);
  }
}

absl::Status RegionCommunicator::AwaitStep(Operation op, int64_t total, int from) {
  PAMIR_RETURN_IF_ERROR(
      Await(op, from, [&](int r) { return region_.rank(r).step.load() >= step_; }));
  for (int r = 0; r < size(); ++r) {
    if (r == rank() || (from != kAllRanks && r != from)) continue;
    const SlotHeader& header = region_.slot_header(r, step_);
    if (header.operation != static_cast<uint32_t>(op) || header.bytes != total) {
      return NotTheSame(group_, r, static_cast<Operation>(header.operation), header.bytes, op,
                        total);
    }
  }
  return absl::OkStatus();
}

const std::vector<const float*>& RegionCommunicator::PartsAt(int64_t offset_bytes) {
  for (int r = 0; r < size(); ++r) {
    parts_[static_cast<size_t>(r)] =
        reinterpret_cast<const float*>(region_.slot(r, step_) + offset_bytes);
  }
  return parts_;
}

absl::Status RegionCommunicator::ReduceDirect(float* data, int64_t count) {
  const int64_t total = count * kFloat, most = region_.shape().slot_bytes / kFloat;
  for (int64_t begin = 0; begin < count; begin += most) {
    const int64_t n = std::min(most, count - begin);
    PAMIR_RETURN_IF_ERROR(OpenStep(Operation::kAllReduce, total));
    std::memcpy(MySlot(), data + begin, static_cast<size_t>(n * kFloat));
    PublishStep();
    PAMIR_RETURN_IF_ERROR(AwaitStep(Operation::kAllReduce, total, kAllRanks));
    SumInRankOrder(PartsAt(0), n, data + begin);
  }
  return absl::OkStatus();
}

// Two steps a block: all write their parts and each sums its share; all publish their sums and each
// collects them. Each element is still summed in rank order, by the one rank that owns it.
absl::Status RegionCommunicator::ReduceScattered(float* data, int64_t count) {
  const int64_t total = count * kFloat, most = region_.shape().slot_bytes / kFloat;
  for (int64_t begin = 0; begin < count; begin += most) {
    const Range block{0, std::min(most, count - begin)};
    const Range mine = SplitEvenly(block, size(), rank());
    PAMIR_RETURN_IF_ERROR(OpenStep(Operation::kAllReduce, total));
    std::memcpy(MySlot(), data + begin, static_cast<size_t>(block.size() * kFloat));
    PublishStep();
    PAMIR_RETURN_IF_ERROR(AwaitStep(Operation::kAllReduce, total, kAllRanks));
    PartsAt(mine.begin * kFloat);
    PAMIR_RETURN_IF_ERROR(OpenStep(Operation::kAllReduce, total));
    SumInRankOrder(parts_, mine.size(), reinterpret_cast<float*>(MySlot()) + mine.begin);
    PublishStep();
    PAMIR_RETURN_IF_ERROR(AwaitStep(Operation::kAllReduce, total, kAllRanks));
    for (int r = 0; r < size(); ++r) {
      const Range share = SplitEvenly(block, size(), r);
      std::memcpy(data + begin + share.begin, region_.slot(r, step_) + share.begin * kFloat,
                  static_cast<size_t>(share.size() * kFloat));
    }
  }
  return absl::OkStatus();
}

absl::Status RegionCommunicator::BroadcastSteps(int root, char* data, int64_t bytes) {
  const int64_t most = region_.shape().slot_bytes;
  for (int64_t begin = 0; begin < bytes; begin += most) {
    const auto n = static_cast<size_t>(std::min(most, bytes - begin));
    PAMIR_RETURN_IF_ERROR(OpenStep(Operation::kBroadcast, bytes));
    if (rank() == root) std::memcpy(MySlot(), data + begin, n);
    PublishStep();
    if (rank() == root) continue;  // two steps ahead of the slowest reader at most: see OpenStep
    PAMIR_RETURN_IF_ERROR(AwaitStep(Operation::kBroadcast, bytes, root));
    std::memcpy(data + begin, region_.slot(root, step_), n);
  }
  return absl::OkStatus();
}

}  // namespace pamir::comm
