// A module with a table of its own. PAMIR_TEST_MODULE_VERSION is the version that it was "built
// with".
#include "kernels/cuda/cuda_api.h"

namespace {

const char* Text(int) { return "the module of a test"; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const pamir::kernels::CudaApi* PamirCudaApi(
    int version) {
  static const pamir::kernels::CudaApi api = [] {
    pamir::kernels::CudaApi made = {};
    made.error_text = Text;
    return made;
  }();
  return version == PAMIR_TEST_MODULE_VERSION ? &api : nullptr;
}
