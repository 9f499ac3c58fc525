// Prints what opening the GPU back end says: it is opened once a process, so each case of
// module_test.cc is a process of this program, which lies where no pamir_cuda.so is.
#include <iostream>

#include "engine/device/cuda_device.h"

int main() {
  const auto api = pamir::device::OpenCudaModule();
  if (api.ok()) {
    std::cout << "opened: " << (*api)->error_text(0) << "\n";
  } else {
    std::cout << api.status().ToString() << "\n";
  }
  return 0;
}
