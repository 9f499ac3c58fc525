// One NVIDIA GPU, through the module's table (kernels/cuda/cuda_api.h): memory, streams, events and
// graphs as RAII. No CUDA header; without the module or a driver, OpenCuda says what is missing.
#ifndef PAMIR_ENGINE_DEVICE_CUDA_DEVICE_H_
#define PAMIR_ENGINE_DEVICE_CUDA_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/stream.h"
#include "kernels/cuda/cuda_api.h"

namespace pamir::device {

// Opens pamir_cuda.so, once a process: beside the program, in ../lib, or where PAMIR_CUDA_MODULE
// says. NOT_FOUND: the program was built without it; FAILED_PRECONDITION: it is of another build,
// or something that it needs is missing (the loader's words are in the message).
absl::StatusOr<const kernels::CudaApi*> OpenCudaModule();

// The GPUs that this process can see, in CUDA's order. UNAVAILABLE: no driver, one that is too old
// (the message says which version is needed), or no GPU.
absl::StatusOr<std::vector<kernels::CudaDeviceFacts>> ListCudaDevices();

class CudaDevice {
 public:
  // Makes `index` the calling thread's device. INVALID_ARGUMENT names the devices that exist.
  static absl::StatusOr<std::unique_ptr<CudaDevice>> Open(int index);
  // With a table of the caller's, for tests.
  static absl::StatusOr<std::unique_ptr<CudaDevice>> OpenWith(const kernels::CudaApi* api,
                                                              int index);

  const kernels::CudaApi& api() const { return *api_; }
  int index() const { return index_; }
  const kernels::CudaDeviceFacts& facts() const { return facts_; }

  // Each thread that uses the device calls this first.
  absl::Status Use() const;

  // OK for 0; else INTERNAL (RESOURCE_EXHAUSTED where memory is out) with CUDA's own words.
  absl::Status Check(int error, const char* what) const;

  // Free bytes now.
  absl::StatusOr<int64_t> FreeBytes() const;

 private:
  CudaDevice(const kernels::CudaApi* api, int index) : api_(api), index_(index) {}

  const kernels::CudaApi* const api_;
  const int index_;
  kernels::CudaDeviceFacts facts_;
};

// Something that the table makes and ends; moves like a pointer. `device` outlives it.
template <typename Handle, int (*kernels::CudaApi::*kEnd)(Handle)>
class CudaHandle {
 public:
  CudaHandle() = default;
  CudaHandle(const CudaDevice& device, Handle handle) : api_(&device.api()), handle_(handle) {}
  ~CudaHandle() {
    if (api_ != nullptr) (api_->*kEnd)(handle_);
  }
  CudaHandle(CudaHandle&& other) noexcept { *this = std::move(other); }
  CudaHandle& operator=(CudaHandle&& other) noexcept {
    std::swap(api_, other.api_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  CudaHandle(const CudaHandle&) = delete;
  CudaHandle& operator=(const CudaHandle&) = delete;

  Handle get() const { return handle_; }
  bool valid() const { return api_ != nullptr; }

 private:
  const kernels::CudaApi* api_ = nullptr;
  Handle handle_ = {};
};

using CudaMemory = CudaHandle<void*, &kernels::CudaApi::release>;
using PinnedMemory = CudaHandle<void*, &kernels::CudaApi::release_pinned>;
using CudaStream = CudaHandle<StreamRef, &kernels::CudaApi::destroy_stream>;
using CudaEvent = CudaHandle<void*, &kernels::CudaApi::destroy_event>;
using CudaGraph = CudaHandle<void*, &kernels::CudaApi::destroy_graph>;

// RESOURCE_EXHAUSTED says how much was asked for and how much is free. Device memory is not
// cleared. 0 bytes give an empty handle.
absl::StatusOr<CudaMemory> AllocateCuda(const CudaDevice& device, int64_t bytes, const char* what);
absl::StatusOr<PinnedMemory> AllocatePinned(const CudaDevice& device, int64_t bytes,
                                            const char* what);
absl::StatusOr<CudaStream> MakeStream(const CudaDevice& device);
absl::StatusOr<CudaEvent> MakeEvent(const CudaDevice& device, bool timed = false);

}  // namespace pamir::device

#endif  // PAMIR_ENGINE_DEVICE_CUDA_DEVICE_H_
