#include "engine/comm/staged.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/comm/first_error.h"
#include "engine/comm/operation.h"

namespace pamir::comm {
namespace {

constexpr int64_t kFloat = sizeof(float);

// Pinned memory for one piece. Copies into it are ordered after copies out of it: those on the
// device by the stream, the host's own writing by waiting for `out`.
struct Half {
  device::PinnedMemory memory;
  device::CudaEvent in;   // the last copy from the device
  device::CudaEvent out;  // the last copy to the device
  char* data() const { return static_cast<char*>(memory.get()); }
};

class Staged final : public Communicator {
 public:
  Staged(std::shared_ptr<Communicator> host, const device::CudaDevice& device,
         int64_t max_message_bytes, int64_t piece_bytes)
      : host_(std::move(host)),
        device_(device),
        api_(device.api()),
        piece_bytes_(piece_bytes),
        name_(absl::StrCat("staged-", host_->transport())) {
    group_.rank = host_->rank();
    group_.world_rank_of.resize(static_cast<size_t>(host_->size()));  // for its size alone
    group_.max_message_bytes = max_message_bytes;
  }
  ~Staged() override;

  absl::Status Allocate();
  int rank() const override { return group_.rank; }
  int size() const override { return group_.size(); }
  const char* transport() const override { return name_.c_str(); }
  absl::Status AllReduce(float* data, int64_t count, StreamRef stream) override;
  absl::Status Gather(int root, const float* mine, const std::vector<int64_t>& counts, float* all,
                      StreamRef stream) override;
  absl::Status Broadcast(int root, void* data, int64_t bytes, StreamRef stream) override;
  absl::Status Send(int peer, const void* data, int64_t bytes, StreamRef stream) override;
  absl::Status Recv(int peer, void* data, int64_t bytes, StreamRef stream) override;
  void Abort(const absl::Status& why) override {
    error_.Set(why);
    host_->Abort(why);
  }

 private:
  // The host's part of an operation, on one piece in pinned memory.
  using HostPart = absl::FunctionRef<absl::Status(char* piece, int64_t bytes)>;

  // Runs `part` on each piece of a message, at least once. `from`: what it reads comes from there;
  // `to`: what it leaves goes there; either may be null.
  absl::Status Pump(const char* from, char* to, int64_t bytes, StreamRef stream, HostPart part);
  absl::Status SendPieces(int peer, const char* data, int64_t bytes, StreamRef stream);
  absl::Status RecvPieces(int peer, char* data, int64_t bytes, StreamRef stream);
  absl::Status GatherPieces(int root, const float* mine, const std::vector<int64_t>& counts,
                            float* all, StreamRef stream);

  absl::Status CopyIn(Half& half, const char* from, int64_t bytes, StreamRef stream);
  absl::Status CopyOut(Half& half, char* to, int64_t bytes, StreamRef stream);
  absl::Status Cuda(int error, const char* what) const { return device_.Check(error, what); }

  absl::Status Settle(const absl::Status& status);

  const std::shared_ptr<Communicator> host_;
  const device::CudaDevice& device_;
  const kernels::CudaApi&
      api_;  // outlives the device: whoever aborts may hold this a little longer
  const int64_t piece_bytes_;
  const std::string name_;
  GroupInfo group_;
  Half halves_[2];
  int next_ = 0;  // the half that the next piece takes
  FirstError error_;
};

Staged::~Staged() {
  for (const Half& half : halves_) {
    if (half.in.valid()) api_.synchronize_event(half.in.get());
    if (half.out.valid()) api_.synchronize_event(half.out.get());
  }
}

absl::Status Staged::Allocate() {
  for (Half& half : halves_) {
    PAMIR_ASSIGN_OR_RETURN(half.memory,
                           device::AllocatePinned(device_, piece_bytes_, "messages between ranks"));
    PAMIR_ASSIGN_OR_RETURN(half.in, device::MakeEvent(device_));
    PAMIR_ASSIGN_OR_RETURN(half.out, device::MakeEvent(device_));
  }
  return absl::OkStatus();
}

// An error of the device is told to the peers too.
absl::Status Staged::Settle(const absl::Status& status) {
  if (status.ok()) return status;
  if (error_.Set(status)) host_->Abort(status);
  return error_.Get();
}

absl::Status Staged::CopyIn(Half& half, const char* from, int64_t bytes, StreamRef stream) {
  const kernels::CudaApi& api = device_.api();
  // The last copy out of this half may be on another stream.
  PAMIR_RETURN_IF_ERROR(Cuda(api.wait_event(stream, half.out.get()), "order two copies"));
  PAMIR_RETURN_IF_ERROR(Cuda(api.copy(half.data(), from, bytes, stream), "copy a message"));
  return Cuda(api.record_event(half.in.get(), stream), "mark a copy");
}

absl::Status Staged::CopyOut(Half& half, char* to, int64_t bytes, StreamRef stream) {
  const kernels::CudaApi& api = device_.api();
  PAMIR_RETURN_IF_ERROR(Cuda(api.copy(to, half.data(), bytes, stream), "copy a message"));
  return Cuda(api.record_event(half.out.get(), stream), "mark a copy");
}

absl::Status Staged::Pump(const char* from, char* to, int64_t bytes, StreamRef stream,
                          HostPart part) {
  const kernels::CudaApi& api = device_.api();
  const auto size_at = [&](int64_t at) { return std::min(piece_bytes_, bytes - at); };
  if (from != nullptr && bytes > 0) {
    PAMIR_RETURN_IF_ERROR(CopyIn(halves_[next_], from, size_at(0), stream));
  }
  int64_t at = 0;
  do {
    Half& half = halves_[next_];
    next_ = 1 - next_;
    const int64_t size = size_at(at), following = at + size;
    if (from != nullptr && following < bytes) {
      PAMIR_RETURN_IF_ERROR(CopyIn(halves_[next_], from + following, size_at(following), stream));
    }
    void* ready = from != nullptr && size > 0 ? half.in.get() : half.out.get();
    PAMIR_RETURN_IF_ERROR(Cuda(api.synchronize_event(ready), "wait for a copy"));
    PAMIR_RETURN_IF_ERROR(part(half.data(), size));
    if (to != nullptr && size > 0) {
      PAMIR_RETURN_IF_ERROR(CopyOut(half, to + at, size, stream));
    }
    at = following;
  } while (at < bytes);
  return absl::OkStatus();
}

absl::Status Staged::AllReduce(float* data, int64_t count, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  PAMIR_RETURN_IF_ERROR(Settle(CheckFloats(group_, Operation::kAllReduce, count)));
  char* bytes = reinterpret_cast<char*>(data);
  return Settle(Pump(bytes, bytes, count * kFloat, stream, [&](char* piece, int64_t size) {
    return host_->AllReduce(reinterpret_cast<float*>(piece), size / kFloat, {});
  }));
}

absl::Status Staged::Broadcast(int root, void* data, int64_t bytes, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  PAMIR_RETURN_IF_ERROR(Settle(CheckRoot(group_, Operation::kBroadcast, root)));
  PAMIR_RETURN_IF_ERROR(Settle(CheckBytes(group_, Operation::kBroadcast, bytes)));
  char* at = static_cast<char*>(data);
  const bool mine = rank() == root;
  return Settle(
      Pump(mine ? at : nullptr, mine ? nullptr : at, bytes, stream,
           [&](char* piece, int64_t size) { return host_->Broadcast(root, piece, size, {}); }));
}

absl::Status Staged::SendPieces(int peer, const char* data, int64_t bytes, StreamRef stream) {
  return Pump(data, nullptr, bytes, stream,
              [&](const char* piece, int64_t size) { return host_->Send(peer, piece, size, {}); });
}

absl::Status Staged::RecvPieces(int peer, char* data, int64_t bytes, StreamRef stream) {
  return Pump(nullptr, data, bytes, stream,
              [&](char* piece, int64_t size) { return host_->Recv(peer, piece, size, {}); });
}

absl::Status Staged::Send(int peer, const void* data, int64_t bytes, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  PAMIR_RETURN_IF_ERROR(Settle(CheckPeer(group_, peer)));
  PAMIR_RETURN_IF_ERROR(Settle(CheckBytes(group_, Operation::kSendRecv, bytes)));
  return Settle(SendPieces(peer, static_cast<const char*>(data), bytes, stream));
}

absl::Status Staged::Recv(int peer, void* data, int64_t bytes, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  PAMIR_RETURN_IF_ERROR(Settle(CheckPeer(group_, peer)));
  PAMIR_RETURN_IF_ERROR(Settle(CheckBytes(group_, Operation::kSendRecv, bytes)));
  return Settle(RecvPieces(peer, static_cast<char*>(data), bytes, stream));
}

absl::Status Staged::Gather(int root, const float* mine, const std::vector<int64_t>& counts,
                            float* all, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(error_.Get());
  PAMIR_RETURN_IF_ERROR(Settle(CheckRoot(group_, Operation::kGather, root)));
  PAMIR_RETURN_IF_ERROR(Settle(CheckCounts(group_, counts)));
  return Settle(GatherPieces(root, mine, counts, all, stream));
}

absl::Status Staged::GatherPieces(int root, const float* mine, const std::vector<int64_t>& counts,
                                  float* all, StreamRef stream) {
  for (int r = 0; r < size(); ++r) {
    const int64_t bytes = counts[static_cast<size_t>(r)] * kFloat;
    if (r == rank() && r == root) {
      PAMIR_RETURN_IF_ERROR(Cuda(device_.api().copy(all, mine, bytes, stream), "copy a message"));
    } else if (r == rank()) {
      PAMIR_RETURN_IF_ERROR(SendPieces(root, reinterpret_cast<const char*>(mine), bytes, stream));
    } else if (rank() == root) {
      PAMIR_RETURN_IF_ERROR(RecvPieces(r, reinterpret_cast<char*>(all), bytes, stream));
    }
    if (rank() == root) all += counts[static_cast<size_t>(r)];
  }
  return absl::OkStatus();
}

int64_t PieceBytes(int64_t max_message_bytes, int64_t piece_bytes) {
  return std::min(piece_bytes, RoundUp(std::max<int64_t>(max_message_bytes, kFloat), kFloat));
}

}  // namespace

int64_t StagedPinnedBytes(int64_t max_message_bytes) {
  return 2 * PieceBytes(max_message_bytes, kStagedPieceBytes);
}

absl::StatusOr<std::unique_ptr<Communicator>> MakeStagedCommunicator(
    std::shared_ptr<Communicator> host, const device::CudaDevice& device, int64_t max_message_bytes,
    int64_t piece_bytes) {
  PAMIR_CHECK(piece_bytes > 0 && piece_bytes % kFloat == 0,
              absl::StrCat("staging in pieces of ", piece_bytes, " bytes"));
  auto staged = std::make_unique<Staged>(std::move(host), device, max_message_bytes,
                                         PieceBytes(max_message_bytes, piece_bytes));
  PAMIR_RETURN_IF_ERROR(staged->Allocate());
  return staged;
}

}  // namespace pamir::comm
