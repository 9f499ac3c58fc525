#include "support/fake_cuda/fake_cuda.h"

#include "support/fake_cuda/runtime.h"
#include "support/fake_cuda/state.h"

namespace pamir::testing {

FakeCuda::FakeCuda(const FakeCudaOptions& options) : state_(std::make_unique<FakeState>(options)) {}
FakeCuda::~FakeCuda() = default;

const kernels::CudaApi* FakeCuda::api() const {
  static const kernels::CudaApi table = [] {
    kernels::CudaApi api = {};
    FillRuntime(&api);
    FillCopies(&api);
    FillRows(&api);
    FillAttention(&api);
    FillSampling(&api);
    FillMoves(&api);
    FillProducts(&api);
    FillSkipNeurons(&api);
    return api;
  }();
  return &table;
}

int64_t FakeCuda::device_bytes(int device) const {
  return state_->memory.live_bytes(FakeMemory::Kind::kDevice, device);
}
int64_t FakeCuda::peak_device_bytes(int device) const {
  return state_->memory.peak_bytes(FakeMemory::Kind::kDevice, device);
}
int64_t FakeCuda::pinned_bytes() const {
  return state_->memory.live_bytes(FakeMemory::Kind::kPinned, 0);
}
void FakeCuda::SetMemory(int64_t bytes_of_each_device) { state_->SetMemory(bytes_of_each_device); }
void FakeCuda::Freeze(bool frozen) { state_->Freeze(frozen); }
void FakeCuda::FailLaunch(int64_t n, int error, bool late) { state_->FailLaunch(n, error, late); }
FakeCudaCounts FakeCuda::counts() const { return state_->counts(); }
int64_t FakeCuda::kernels_of(const std::string& name) const { return state_->kernels_of(name); }
void FakeCuda::ResetCounts() { state_->ResetCounts(); }

}  // namespace pamir::testing
