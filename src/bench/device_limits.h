// What the device can do at best, measured in the same run: the yardstick of every row.
#ifndef PAMIR_BENCH_DEVICE_LIMITS_H_
#define PAMIR_BENCH_DEVICE_LIMITS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "engine/device/cuda_device.h"

namespace pamir::bench {

struct DeviceLimits {
  double read_bytes_per_s = 0;  // of memory that is only read
  // Of a square product; 0 on CPUs, where the engine's own product is the only one there is.
  double operations_per_s = 0;
  int64_t product_size = 0;  // its rows, columns and inputs
};

// The best of five passes over 512 MB.
absl::StatusOr<DeviceLimits> MeasureCpu(int threads);

// Best of five each. Before anything is loaded: takes 2 GiB (a 16th of a small memory) for a while.
// The product is 8192 cubed, or 512 where little is free; tuned as the engine tunes its own.
absl::StatusOr<DeviceLimits> MeasureCuda(const device::CudaDevice& device, DType dtype);

}  // namespace pamir::bench

#endif  // PAMIR_BENCH_DEVICE_LIMITS_H_
