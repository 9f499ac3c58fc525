// Lists of GPUs for tests.
#ifndef PAMIR_TESTS_UNIT_CLI_TEST_GPUS_H_
#define PAMIR_TESTS_UNIT_CLI_TEST_GPUS_H_

#include <cstdio>

#include "base/units.h"
#include "cli/device_choice.h"

namespace pamir::cli {

inline Gpus SomeGpus(int count, int64_t gib = 80) {
  Gpus gpus(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    kernels::CudaDeviceFacts& gpu = gpus[static_cast<size_t>(i)];
    std::snprintf(gpu.name, sizeof gpu.name, "GPU of a test");
    std::snprintf(gpu.bus_id, sizeof gpu.bus_id, "0000:%02x:00.0", i);
    gpu.memory_bytes = gib * kGiB;
  }
  return gpus;
}

}  // namespace pamir::cli

#endif  // PAMIR_TESTS_UNIT_CLI_TEST_GPUS_H_
