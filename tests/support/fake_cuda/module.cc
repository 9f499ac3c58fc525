// The fake device as a module for PAMIR_CUDA_MODULE, so that whole programs run on it.
// FAKE_CUDA_DEVICES: how many there are (1); FAKE_CUDA_MEMORY: bytes of each (2 GiB, for a KV cache
// takes what is there, and all of it is filled). Not PAMIR_*: `pamir serve` keeps those from its
// workers. Several ranks need --transport staged: NCCL knows no fake devices.
#include <cstdlib>

#include "support/fake_cuda/fake_cuda.h"

namespace {

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoll(value, nullptr, 10);
}

pamir::testing::FakeCuda* MakeFake() {
  pamir::testing::FakeCudaOptions options;
  options.devices = static_cast<int>(FromEnvironment("FAKE_CUDA_DEVICES", options.devices));
  options.memory_bytes = FromEnvironment("FAKE_CUDA_MEMORY", int64_t{2} << 30);
  return new pamir::testing::FakeCuda(options);  // as long as the program
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const pamir::kernels::CudaApi* PamirCudaApi(
    int version) {
  static const pamir::testing::FakeCuda* const fake = MakeFake();
  return version == pamir::kernels::kCudaApiVersion ? fake->api() : nullptr;
}
