#include "engine/device/cuda_device.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace pamir::device {
namespace {

constexpr int kErrorMemoryAllocation = 2;  // cudaErrorMemoryAllocation

absl::StatusOr<int> CountDevices(const kernels::CudaApi& api) {
  int count = 0;
  const int error = api.device_count(&count);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("no GPU can be used: ", std::string(api.error_text(error))));
  }
  if (count == 0) return absl::UnavailableError("no GPU can be used: none is visible");
  return count;
}

}  // namespace

absl::StatusOr<std::vector<kernels::CudaDeviceFacts>> ListCudaDevices() {
  PAMIR_ASSIGN_OR_RETURN(const kernels::CudaApi* api, OpenCudaModule());
  PAMIR_ASSIGN_OR_RETURN(const int count, CountDevices(*api));
  std::vector<kernels::CudaDeviceFacts> devices(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    const int error = api->describe(i, &devices[static_cast<size_t>(i)]);
    if (error != 0) {
      return absl::UnavailableError(
          absl::StrCat("GPU ", i, " cannot be used: ", std::string(api->error_text(error))));
    }
  }
  return devices;
}

absl::StatusOr<std::unique_ptr<CudaDevice>> CudaDevice::Open(int index) {
  PAMIR_ASSIGN_OR_RETURN(const kernels::CudaApi* api, OpenCudaModule());
  return OpenWith(api, index);
}

absl::StatusOr<std::unique_ptr<CudaDevice>> CudaDevice::OpenWith(const kernels::CudaApi* api,
                                                                 int index) {
  PAMIR_ASSIGN_OR_RETURN(const int count, CountDevices(*api));
  if (index < 0 || index >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no GPU ", index, ": this process sees ", count,
                     count == 1 ? " (cuda:0)" : absl::StrCat(" (cuda:0 to cuda:", count - 1, ")")));
  }
  std::unique_ptr<CudaDevice> device(new CudaDevice(api, index));
  PAMIR_RETURN_IF_ERROR(device->Check(api->describe(index, &device->facts_), "describe a GPU"));
  PAMIR_RETURN_IF_ERROR(device->Use());
  return device;
}

absl::Status CudaDevice::Use() const { return Check(api_->use_device(index_), "start a GPU"); }

absl::Status CudaDevice::Check(int error, const char* what) const {
  if (error == 0) return absl::OkStatus();
  const std::string message = absl::StrCat("GPU ", index_, " (", std::string(facts_.name), "), ",
                                           what, ": ", std::string(api_->error_text(error)));
  if (error == kErrorMemoryAllocation) return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

absl::StatusOr<int64_t> CudaDevice::FreeBytes() const {
  int64_t free = 0, total = 0;
  PAMIR_RETURN_IF_ERROR(Check(api_->memory(&free, &total), "ask for the free memory"));
  return free;
}

absl::StatusOr<CudaMemory> AllocateCuda(const CudaDevice& device, int64_t bytes, const char* what) {
  if (bytes <= 0) return CudaMemory();
  void* memory = nullptr;
  const int error = device.api().allocate(bytes, &memory);
  if (error == 0) return CudaMemory(device, memory);
  device.api().last_error();  // running out of memory breaks nothing: forget it
  PAMIR_ASSIGN_OR_RETURN(const int64_t free, device.FreeBytes());
  const absl::Status why = device.Check(error, "allocate");
  return absl::Status(why.code(),
                      absl::StrCat(what, " need ", HumanBytes(bytes), ", ", HumanBytes(free),
                                   " are free: ", std::string(why.message())));
}

absl::StatusOr<PinnedMemory> AllocatePinned(const CudaDevice& device, int64_t bytes,
                                            const char* what) {
  if (bytes <= 0) return PinnedMemory();
  void* memory = nullptr;
  const int error = device.api().allocate_pinned(bytes, &memory);
  if (error == 0) return PinnedMemory(device, memory);
  device.api().last_error();
  const absl::Status why = device.Check(error, "pin memory of the host");
  return absl::Status(why.code(), absl::StrCat(what, " need ", HumanBytes(bytes), ": ",
                                               std::string(why.message())));
}

absl::StatusOr<CudaStream> MakeStream(const CudaDevice& device) {
  StreamRef stream;
  PAMIR_RETURN_IF_ERROR(device.Check(device.api().create_stream(&stream), "make a stream"));
  return CudaStream(device, stream);
}

absl::StatusOr<CudaEvent> MakeEvent(const CudaDevice& device, bool timed) {
  void* event = nullptr;
  PAMIR_RETURN_IF_ERROR(device.Check(device.api().create_event(timed, &event), "make an event"));
  return CudaEvent(device, event);
}

}  // namespace pamir::device
