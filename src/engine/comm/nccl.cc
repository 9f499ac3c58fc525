#include "engine/comm/nccl.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/comm/nccl_comm.h"

namespace pamir::comm {
namespace {

constexpr int64_t kFloat = sizeof(float);
constexpr int64_t kQuad = 4;  // floats: rank_sum's parts begin at multiples of 16 bytes

int64_t FloorTo(int64_t n, int64_t step) { return n / step * step; }

class Nccl final : public Communicator {
 public:
  Nccl(const NcclApi& api, GroupInfo group, const device::CudaDevice& device,
       const NcclSizes& sizes)
      : api_(api), group_(std::move(group)), device_(device), sizes_(sizes) {}

  absl::Status Start(const std::string& id);
  int rank() const override { return group_.rank; }
  int size() const override { return group_.size(); }
  const char* transport() const override { return "nccl"; }
  bool capturable() const override { return true; }
  absl::Status AllReduce(float* data, int64_t count, StreamRef stream) override;
  absl::Status Gather(int root, const float* mine, const std::vector<int64_t>& counts, float* all,
                      StreamRef stream) override;
  absl::Status Broadcast(int root, void* data, int64_t bytes, StreamRef stream) override;
  absl::Status Send(int peer, const void* data, int64_t bytes, StreamRef stream) override;
  absl::Status Recv(int peer, void* data, int64_t bytes, StreamRef stream) override;
  void Abort(const absl::Status& why) override { comm_->Fail(why).IgnoreError(); }

 private:
  absl::Status ReduceAll(float* data, int64_t count, StreamRef stream);
  absl::Status ReduceDirect(float* data, int64_t count, StreamRef stream);
  absl::Status ReduceScattered(float* data, int64_t count, StreamRef stream);
  absl::Status GatherParts(int root, const float* mine, const std::vector<int64_t>& counts,
                           float* all, StreamRef stream);
  absl::Status SumParts(int64_t stride, int64_t count, float* out, StreamRef stream);
  absl::Status AllGather(Operation op, const float* mine, float* all, int64_t count,
                         StreamRef stream);
  absl::Status WarmUp();
  absl::Status MoveALittle(StreamRef stream);
  absl::Status AwaitStream(StreamRef stream);

  float* scratch() const { return static_cast<float*>(scratch_.get()); }
  absl::Status Cuda(int error, const char* what) const { return device_.Check(error, what); }
  // Remembers an error as the communicator's end.
  absl::Status Settle(const absl::Status& status) {
    return status.ok() ? status : comm_->Fail(status);
  }

  const NcclApi& api_;
  const GroupInfo group_;
  const device::CudaDevice& device_;
  const NcclSizes sizes_;
  device::CudaMemory scratch_;  // parts of the ranks, one behind the other
  std::unique_ptr<NcclComm> comm_;
};

absl::Status Nccl::Start(const std::string& id) {
  const int64_t bytes = NcclScratchBytes(size(), group_.max_message_bytes, sizes_);
  PAMIR_ASSIGN_OR_RETURN(scratch_, device::AllocateCuda(device_, bytes, "sums between ranks"));
  PAMIR_ASSIGN_OR_RETURN(comm_, NcclComm::Join(api_, group_, id));
  return Settle(WarmUp());
}

absl::Status Nccl::WarmUp() {
  PAMIR_ASSIGN_OR_RETURN(const device::CudaStream stream, device::MakeStream(device_));
  PAMIR_RETURN_IF_ERROR(MoveALittle(stream.get()));
  return AwaitStream(stream.get());
}

// Between each pair of ranks, and small and large all-gathers, for which NCCL may take different
// ways.
absl::Status Nccl::MoveALittle(StreamRef stream) {
  const int64_t bytes = NcclScratchBytes(size(), group_.max_message_bytes, sizes_);
  PAMIR_RETURN_IF_ERROR(Cuda(device_.api().fill(scratch(), 0, bytes, stream), "clear a buffer"));
  const int64_t largest = FloorTo(bytes / kFloat / size(), kQuad);
  for (const int64_t count : {kQuad, largest}) {
    PAMIR_RETURN_IF_ERROR(
        AllGather(Operation::kConnect, scratch() + rank() * count, scratch(), count, stream));
  }
  PAMIR_RETURN_IF_ERROR(comm_->Run(Operation::kConnect, [&](void* comm) {
    return api_.broadcast(scratch(), kFloat, 0, comm, stream);
  }));
  return comm_->Run(Operation::kConnect, [&](void* comm) {
    int result = 0;
    for (int r = 0; r < size() && result == 0; ++r) {
      result = api_.send(scratch() + r * kQuad, kFloat, r, comm, stream);
      float* to = scratch() + (size() + r) * kQuad;
      if (result == 0) result = api_.recv(to, kFloat, r, comm, stream);
    }
    return result;
  });
}

absl::Status Nccl::AwaitStream(StreamRef stream) {
  PAMIR_ASSIGN_OR_RETURN(const device::CudaEvent event, device::MakeEvent(device_));
  const kernels::CudaApi& api = device_.api();
  PAMIR_RETURN_IF_ERROR(Cuda(api.record_event(event.get(), stream), "mark a stream"));
  const auto deadline = std::chrono::steady_clock::now() +
                        absl::ToChronoNanoseconds(std::min(group_.timeout, absl::Hours(1000)));
  for (;;) {
    bool done = false;
    PAMIR_RETURN_IF_ERROR(Cuda(api.event_done(event.get(), &done), "wait for a stream"));
    PAMIR_RETURN_IF_ERROR(comm_->error());
    if (done) return absl::OkStatus();
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "the ranks have met through NCCL, but nothing moved between their GPUs within ",
          absl::FormatDuration(group_.timeout)));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

absl::Status Nccl::AllGather(Operation op, const float* mine, float* all, int64_t count,
                             StreamRef stream) {
  return comm_->Run(
      op, [&](void* comm) { return api_.all_gather(mine, all, count * kFloat, comm, stream); });
}

absl::Status Nccl::AllReduce(float* data, int64_t count, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(comm_->error());
  PAMIR_RETURN_IF_ERROR(Settle(CheckFloats(group_, Operation::kAllReduce, count)));
  if (reinterpret_cast<uintptr_t>(data) % (kQuad * kFloat) != 0) {
    return Settle(
        absl::InvalidArgumentError("all-reduce: floats must lie at multiples of 16 bytes"));
  }
  return Settle(ReduceAll(data, count, stream));
}

// Large sums by blocks that split evenly; what is left, directly. Each element is summed in rank
// order either way.
absl::Status Nccl::ReduceAll(float* data, int64_t count, StreamRef stream) {
  const int64_t even = kQuad * size();
  const int64_t direct = std::max(sizes_.direct_bytes / kFloat, even);
  const int64_t block = std::max(sizes_.block_bytes / kFloat, even);
  while (count > direct) {
    const int64_t n = FloorTo(std::min(count, block), even);
    PAMIR_RETURN_IF_ERROR(ReduceScattered(data, n, stream));
    data += n;
    count -= n;
  }
  return count > 0 ? ReduceDirect(data, count, stream) : absl::OkStatus();
}

absl::Status Nccl::ReduceDirect(float* data, int64_t count, StreamRef stream) {
  const int64_t stride = RoundUp(count, kQuad);
  const float* mine = data;
  if (stride != count) {  // NCCL sends whole strides, which `data` does not hold
    float* padded = scratch() + rank() * stride;
    PAMIR_RETURN_IF_ERROR(
        Cuda(device_.api().copy(padded, data, count * kFloat, stream), "copy a message"));
    mine = padded;
  }
  PAMIR_RETURN_IF_ERROR(AllGather(Operation::kAllReduce, mine, scratch(), stride, stream));
  return SumParts(stride, count, data, stream);
}

absl::Status Nccl::ReduceScattered(float* data, int64_t count, StreamRef stream) {
  const int64_t share = count / size();
  PAMIR_RETURN_IF_ERROR(comm_->Run(Operation::kAllReduce, [&](void* comm) {
    int result = 0;
    for (int r = 0; r < size() && result == 0; ++r) {
      result = api_.send(data + r * share, share * kFloat, r, comm, stream);
      if (result == 0) result = api_.recv(scratch() + r * share, share * kFloat, r, comm, stream);
    }
    return result;
  }));
  float* mine = data + rank() * share;
  PAMIR_RETURN_IF_ERROR(SumParts(share, share, mine, stream));
  return AllGather(Operation::kAllReduce, mine, data, share, stream);
}

absl::Status Nccl::SumParts(int64_t stride, int64_t count, float* out, StreamRef stream) {
  kernels::RankSumCudaArgs args;
  args.parts = scratch();
  args.ranks = size();
  args.stride = stride;
  args.count = count;
  args.out = out;
  return Cuda(device_.api().rank_sum(args, stream), "sum over ranks");
}

absl::Status Nccl::Gather(int root, const float* mine, const std::vector<int64_t>& counts,
                          float* all, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(comm_->error());
  PAMIR_RETURN_IF_ERROR(Settle(CheckRoot(group_, Operation::kGather, root)));
  PAMIR_RETURN_IF_ERROR(Settle(CheckCounts(group_, counts)));
  return Settle(GatherParts(root, mine, counts, all, stream));
}

absl::Status Nccl::GatherParts(int root, const float* mine, const std::vector<int64_t>& counts,
                               float* all, StreamRef stream) {
  const auto bytes_of = [&](int r) { return counts[static_cast<size_t>(r)] * kFloat; };
  if (rank() != root) {
    if (bytes_of(rank()) == 0) return absl::OkStatus();
    return comm_->Run(Operation::kGather, [&](void* comm) {
      return api_.send(mine, bytes_of(rank()), root, comm, stream);
    });
  }
  char* own = reinterpret_cast<char*>(all);
  for (int r = 0; r < root; ++r) own += bytes_of(r);
  if (own != reinterpret_cast<const char*>(mine)) {
    PAMIR_RETURN_IF_ERROR(
        Cuda(device_.api().copy(own, mine, bytes_of(root), stream), "copy a message"));
  }
  return comm_->Run(Operation::kGather, [&](void* comm) {
    char* to = reinterpret_cast<char*>(all);
    int result = 0;
    for (int r = 0; r < size() && result == 0; ++r) {
      if (r != root && bytes_of(r) > 0) result = api_.recv(to, bytes_of(r), r, comm, stream);
      to += bytes_of(r);
    }
    return result;
  });
}

absl::Status Nccl::Broadcast(int root, void* data, int64_t bytes, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(comm_->error());
  PAMIR_RETURN_IF_ERROR(Settle(CheckRoot(group_, Operation::kBroadcast, root)));
  PAMIR_RETURN_IF_ERROR(Settle(CheckBytes(group_, Operation::kBroadcast, bytes)));
  if (bytes == 0) return absl::OkStatus();
  return comm_->Run(Operation::kBroadcast,
                    [&](void* comm) { return api_.broadcast(data, bytes, root, comm, stream); });
}

absl::Status Nccl::Send(int peer, const void* data, int64_t bytes, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(comm_->error());
  PAMIR_RETURN_IF_ERROR(Settle(CheckPeer(group_, peer)));
  PAMIR_RETURN_IF_ERROR(Settle(CheckBytes(group_, Operation::kSendRecv, bytes)));
  if (bytes == 0) return absl::OkStatus();
  return comm_->Run(Operation::kSendRecv,
                    [&](void* comm) { return api_.send(data, bytes, peer, comm, stream); });
}

absl::Status Nccl::Recv(int peer, void* data, int64_t bytes, StreamRef stream) {
  PAMIR_RETURN_IF_ERROR(comm_->error());
  PAMIR_RETURN_IF_ERROR(Settle(CheckPeer(group_, peer)));
  PAMIR_RETURN_IF_ERROR(Settle(CheckBytes(group_, Operation::kSendRecv, bytes)));
  if (bytes == 0) return absl::OkStatus();
  return comm_->Run(Operation::kSendRecv,
                    [&](void* comm) { return api_.recv(data, bytes, peer, comm, stream); });
}

}  // namespace

int64_t NcclScratchBytes(int ranks, int64_t max_message_bytes, const NcclSizes& sizes) {
  // Up to `even` floats go directly, however small direct_bytes is.
  const int64_t even = kQuad * ranks * kFloat;
  const int64_t direct = std::min(max_message_bytes, std::max(sizes.direct_bytes, even));
  const int64_t block = std::min(max_message_bytes, std::max(sizes.block_bytes, even));
  return std::max({ranks * RoundUp(direct, kQuad * kFloat), block, 2 * even});
}

absl::StatusOr<std::unique_ptr<Communicator>> StartNccl(const NcclApi& api, const GroupInfo& group,
                                                        const device::CudaDevice& device,
                                                        const std::string& id,
                                                        const NcclSizes& sizes) {
  auto communicator = std::make_unique<Nccl>(api, group, device, sizes);
  PAMIR_RETURN_IF_ERROR(communicator->Start(id));
  return communicator;
}

}  // namespace pamir::comm
