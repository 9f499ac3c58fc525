#include "engine/comm/gloo.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "base/units.h"
#include "engine/comm/first_error.h"
#include "engine/comm/gather_messages.h"
#include "engine/comm/rank_sum.h"

namespace pamir::comm {
namespace {

constexpr int64_t kFloat = sizeof(float);
// Up to here each rank sends its whole part to all: one step instead of two. With two ranks that
// costs the same bytes at every size.
constexpr int64_t kDirectBytes = 16 * 1024;

class GlooCommunicator final : public Communicator {
 public:
  explicit GlooCommunicator(std::unique_ptr<GlooMesh> mesh)
      : mesh_(std::move(mesh)), parts_(static_cast<size_t>(size())) {}

  int rank() const override { return mesh_->group().rank; }
  int size() const override { return mesh_->group().size(); }
  const char* transport() const override { return "gloo"; }
  absl::Status AllReduce(float* data, int64_t count, StreamRef) override;
  absl::Status Gather(int root, const float* mine, const std::vector<int64_t>& counts, float* all,
                      StreamRef) override;
  absl::Status Broadcast(int root, void* data, int64_t bytes, StreamRef) override;
  absl::Status Send(int peer, const void* data, int64_t bytes, StreamRef) override;
  absl::Status Recv(int peer, void* data, int64_t bytes, StreamRef) override;
  void Abort(const absl::Status& why) override {
    if (error_.Set(why)) mesh_->Shutdown();
  }

  absl::Status Greet();

 private:
  absl::Status ReduceDirect(float* data, int64_t count);
  absl::Status ReduceScattered(float* data, int64_t count);
  absl::Status SumMyShare(float* data, Range block, int64_t total);
  absl::Status ShareSums(float* data, Range block, int64_t total);
  absl::Status GatherMessages(int root, const float* mine, const std::vector<int64_t>& counts,
                              float* all);
  absl::Status BroadcastMessage(int root, char* data, int64_t bytes);

  // Payloads of at most a frame. The outbox holds what was copied last.
  void Fill(const void* from, int64_t bytes) {
    if (bytes > 0) std::memcpy(mesh_->outbox(), from, static_cast<size_t>(bytes));
  }
  absl::Status SendToAll(Operation op, int64_t total, int64_t bytes);
  absl::Status RecvFromAll(Operation op, int64_t total, int64_t bytes);
  // Messages of any size, frame by frame; at least one frame.
  absl::Status SendMessage(Operation op, int peer, const char* data, int64_t bytes);
  absl::Status RecvMessage(Operation op, int peer, char* data, int64_t bytes);

  // parts_[r]: what rank r sent; this rank's own part lies in the outbox.
  const std::vector<const float*>& Parts();
  absl::Status Settle(absl::Status status);

  const std::unique_ptr<GlooMesh> mesh_;
  std::vector<const float*> parts_;
  FirstError error_;
};

absl::Status GlooCommunicator::Settle(absl::Status status) {
  if (status.ok()) return status;
  if (error_.Set(status)) {
    mesh_->SayFarewell(std::string(status.message()));
    mesh_->Shutdown();
  }
  return error_.Get();
}

// A whole frame each way: Gloo sizes a socket's send buffer by the first message. Each says who it
// is in `total`.
absl::Status GlooCommunicator::Greet() {
  const auto name = [&](int r) {
    return int64_t{mesh_->group().world_rank_of[static_cast<size_t>(r)]};
  };
  PAMIR_RETURN_IF_ERROR(SendToAll(Operation::kConnect, name(rank()), mesh_->frame_bytes()));
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    PAMIR_RETURN_IF_ERROR(mesh_->Recv(Operation::kConnect, r, name(r), mesh_->frame_bytes()));
  }
  return absl::OkStatus();
}

absl::Status GlooCommunicator::SendToAll(Operation op, int64_t total, int64_t bytes) {
  for (int i = 1; i < size(); ++i) {
    PAMIR_RETURN_IF_ERROR(mesh_->Send(op, (rank() + i) % size(), total, bytes));
  }
  return absl::OkStatus();
}

absl::Status GlooCommunicator::RecvFromAll(Operation op, int64_t total, int64_t bytes) {
  for (int r = 0; r < size(); ++r) {
    if (r != rank()) PAMIR_RETURN_IF_ERROR(mesh_->Recv(op, r, total, bytes));
  }
  return absl::OkStatus();
}

const std::vector<const float*>& GlooCommunicator::Parts() {
  for (int r = 0; r < size(); ++r) {
    const char* part = r == rank() ? mesh_->outbox() : mesh_->inbox(r);
    parts_[static_cast<size_t>(r)] = reinterpret_cast<const float*>(part);
  }
  return parts_;
}

absl::Status GlooCommunicator::AllReduce(float* data, int64_t count, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckFloats(mesh_->group(), Operation::kAllReduce, count);
  if (status.ok() && count > 0) {
    const bool direct = size() <= 2 || count * kFloat <= kDirectBytes;
    status = direct ? ReduceDirect(data, count) : ReduceScattered(data, count);
  }
  return Settle(std::move(status));
}

absl::Status GlooCommunicator::ReduceDirect(float* data, int64_t count) {
  const int64_t total = count * kFloat, most = mesh_->frame_bytes() / kFloat;
  for (int64_t begin = 0; begin < count; begin += most) {
    const int64_t n = std::min(most, count - begin);
    Fill(data + begin, n * kFloat);
    PAMIR_RETURN_IF_ERROR(SendToAll(Operation::kAllReduce, total, n * kFloat));
    PAMIR_RETURN_IF_ERROR(RecvFromAll(Operation::kAllReduce, total, n * kFloat));
    SumInRankOrder(Parts(), n, data + begin);
  }
  return absl::OkStatus();
}

// By blocks of a frame per rank: each rank sums its share of the block, in rank order, and tells it
// to all.
absl::Status GlooCommunicator::ReduceScattered(float* data, int64_t count) {
  const int64_t total = count * kFloat, most = mesh_->frame_bytes() / kFloat * size();
  for (int64_t begin = 0; begin < count; begin += most) {
    const Range block{begin, std::min(begin + most, count)};
    PAMIR_RETURN_IF_ERROR(SumMyShare(data, block, total));
    PAMIR_RETURN_IF_ERROR(ShareSums(data, block, total));
  }
  return absl::OkStatus();
}

absl::Status GlooCommunicator::SumMyShare(float* data, Range block, int64_t total) {
  for (int i = 1; i < size(); ++i) {
    const int peer = (rank() + i) % size();
    const Range share = SplitEvenly(block, size(), peer);
    Fill(data + share.begin, share.size() * kFloat);
    PAMIR_RETURN_IF_ERROR(mesh_->Send(Operation::kAllReduce, peer, total, share.size() * kFloat));
  }
  const Range mine = SplitEvenly(block, size(), rank());
  PAMIR_RETURN_IF_ERROR(RecvFromAll(Operation::kAllReduce, total, mine.size() * kFloat));
  Fill(data + mine.begin, mine.size() * kFloat);
  SumInRankOrder(Parts(), mine.size(), data + mine.begin);
  return absl::OkStatus();
}

absl::Status GlooCommunicator::ShareSums(float* data, Range block, int64_t total) {
  const Range mine = SplitEvenly(block, size(), rank());
  Fill(data + mine.begin, mine.size() * kFloat);
  PAMIR_RETURN_IF_ERROR(SendToAll(Operation::kAllReduce, total, mine.size() * kFloat));
  for (int r = 0; r < size(); ++r) {
    if (r == rank()) continue;
    const Range share = SplitEvenly(block, size(), r);
    const int64_t bytes = share.size() * kFloat;
    PAMIR_RETURN_IF_ERROR(mesh_->Recv(Operation::kAllReduce, r, total, bytes));
    std::memcpy(data + share.begin, mesh_->inbox(r), static_cast<size_t>(bytes));
  }
  return absl::OkStatus();
}

absl::Status GlooCommunicator::SendMessage(Operation op, int peer, const char* data,
                                           int64_t bytes) {
  int64_t sent = 0;
  do {
    const int64_t piece = std::min(mesh_->frame_bytes(), bytes - sent);
    Fill(data + sent, piece);
    PAMIR_RETURN_IF_ERROR(mesh_->Send(op, peer, bytes, piece));
    sent += piece;
  } while (sent < bytes);
  return absl::OkStatus();
}

absl::Status GlooCommunicator::RecvMessage(Operation op, int peer, char* data, int64_t bytes) {
  int64_t received = 0;
  do {
    const int64_t piece = std::min(mesh_->frame_bytes(), bytes - received);
    PAMIR_RETURN_IF_ERROR(mesh_->Recv(op, peer, bytes, piece));
    if (piece > 0) std::memcpy(data + received, mesh_->inbox(peer), static_cast<size_t>(piece));
    received += piece;
  } while (received < bytes);
  return absl::OkStatus();
}

absl::Status GlooCommunicator::Send(int peer, const void* data, int64_t bytes, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckPeer(mesh_->group(), peer);
  if (status.ok()) status = CheckBytes(mesh_->group(), Operation::kSendRecv, bytes);
  if (status.ok()) {
    status = SendMessage(Operation::kSendRecv, peer, static_cast<const char*>(data), bytes);
  }
  return Settle(std::move(status));
}

absl::Status GlooCommunicator::Recv(int peer, void* data, int64_t bytes, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckPeer(mesh_->group(), peer);
  if (status.ok()) status = CheckBytes(mesh_->group(), Operation::kSendRecv, bytes);
  if (status.ok())
    status = RecvMessage(Operation::kSendRecv, peer, static_cast<char*>(data), bytes);
  return Settle(std::move(status));
}

absl::Status GlooCommunicator::Gather(int root, const float* mine,
                                      const std::vector<int64_t>& counts, float* all, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckRoot(mesh_->group(), Operation::kGather, root);
  if (status.ok()) status = CheckCounts(mesh_->group(), counts);
  if (status.ok()) status = GatherMessages(root, mine, counts, all);
  return Settle(std::move(status));
}

absl::Status GlooCommunicator::GatherMessages(int root, const float* mine,
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

absl::Status GlooCommunicator::Broadcast(int root, void* data, int64_t bytes, StreamRef) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  absl::Status status = CheckRoot(mesh_->group(), Operation::kBroadcast, root);
  if (status.ok()) status = CheckBytes(mesh_->group(), Operation::kBroadcast, bytes);
  if (status.ok()) status = BroadcastMessage(root, static_cast<char*>(data), bytes);
  return Settle(std::move(status));
}

absl::Status GlooCommunicator::BroadcastMessage(int root, char* data, int64_t bytes) {
  if (rank() != root) return RecvMessage(Operation::kBroadcast, root, data, bytes);
  for (int64_t sent = 0; sent < bytes || sent == 0; sent += mesh_->frame_bytes()) {
    const int64_t piece = std::min(mesh_->frame_bytes(), bytes - sent);
    Fill(data + sent, piece);
    PAMIR_RETURN_IF_ERROR(SendToAll(Operation::kBroadcast, bytes, piece));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> StartGloo(std::unique_ptr<GlooMesh> mesh) {
  auto communicator = std::make_unique<GlooCommunicator>(std::move(mesh));
  PAMIR_RETURN_IF_ERROR(communicator->Greet());
  return communicator;
}

}  // namespace pamir::comm
