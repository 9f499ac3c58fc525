#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "engine/device/cuda_device.h"

namespace pamir::device {
namespace {

namespace fs = std::filesystem;

constexpr char kModule[] = "pamir_cuda.so";
constexpr char kModuleVariable[] = "PAMIR_CUDA_MODULE";

// The first of the places where the module may lie that has it, else "".
std::string FindModule() {
  if (const char* given = std::getenv(kModuleVariable)) return given;
  std::error_code ignored;
  const fs::path here = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const fs::path& place : {here / kModule, here.parent_path() / "lib" / kModule}) {
    if (fs::exists(place, ignored)) return place.string();
  }
  return "";
}

absl::StatusOr<const kernels::CudaApi*> Open() {
  const std::string path = FindModule();
  if (path.empty()) {
    return absl::NotFoundError(absl::StrCat("this build has no GPU back end (", kModule,
                                            " is not beside the program; it is built "
                                            "where the CUDA toolkit is found)"));
  }
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: it owns threads
  if (module == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("the GPU back end cannot be opened: ", std::string(dlerror())));
  }
  const auto get = reinterpret_cast<kernels::GetCudaApi>(dlsym(module, kernels::kCudaApiSymbol));
  const kernels::CudaApi* api = get == nullptr ? nullptr : get(kernels::kCudaApiVersion);
  if (api == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " belongs to another build of Pamir: build both together"));
  }
  return api;
}

}  // namespace

absl::StatusOr<const kernels::CudaApi*> OpenCudaModule() {
  static const absl::StatusOr<const kernels::CudaApi*> opened = Open();
  return opened;
}

}  // namespace pamir::device
