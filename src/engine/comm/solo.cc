#include "engine/comm/solo.h"

#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "engine/comm/first_error.h"
#include "engine/device/cuda_device.h"

namespace pamir::comm {
namespace {

class Solo final : public Communicator {
 public:
  Solo(GroupInfo group, const device::CudaDevice* cuda) : group_(std::move(group)), cuda_(cuda) {}
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const char* transport() const override { return "none"; }
  bool capturable() const override { return cuda_ != nullptr; }

  absl::Status AllReduce(float*, int64_t count, StreamRef) override {
    return Settle(CheckFloats(group_, Operation::kAllReduce, count));
  }

  absl::Status Gather(int root, const float* mine, const std::vector<int64_t>& counts, float* all,
                      StreamRef stream) override {
    absl::Status status = CheckRoot(group_, Operation::kGather, root);
    if (status.ok()) status = CheckCounts(group_, counts);
    PAMIR_RETURN_IF_ERROR(Settle(status));
    const int64_t bytes = counts[0] * static_cast<int64_t>(sizeof(float));
    if (bytes == 0 || all == mine) return absl::OkStatus();
    if (cuda_ != nullptr) {
      return Settle(cuda_->Check(cuda_->api().copy(all, mine, bytes, stream), "copy a message"));
    }
    std::memmove(all, mine, static_cast<size_t>(bytes));
    return absl::OkStatus();
  }

  absl::Status Broadcast(int root, void*, int64_t bytes, StreamRef) override {
    absl::Status status = CheckRoot(group_, Operation::kBroadcast, root);
    if (status.ok()) status = CheckBytes(group_, Operation::kBroadcast, bytes);
    return Settle(status);
  }

  absl::Status Send(int peer, const void*, int64_t, StreamRef) override {
    return Settle(CheckPeer(group_, peer));
  }
  absl::Status Recv(int peer, void*, int64_t, StreamRef) override {
    return Settle(CheckPeer(group_, peer));
  }
  void Abort(const absl::Status& why) override { error_.Set(why); }

 private:
  absl::Status Settle(const absl::Status& status) {
    PAMIR_RETURN_IF_ERROR(error_.Get());
    if (!status.ok()) error_.Set(status);
    return status;
  }

  const GroupInfo group_;
  const device::CudaDevice* const cuda_;
  FirstError error_;
};

}  // namespace

std::unique_ptr<Communicator> SoloCommunicator(GroupInfo group, const device::CudaDevice* cuda) {
  return std::make_unique<Solo>(std::move(group), cuda);
}

}  // namespace pamir::comm
