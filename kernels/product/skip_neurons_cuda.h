// fc2 after ReLU on an NVIDIA GPU, reading only the weights of neurons that are not zero: the full
// strength of the exact skip. Weights lie neuron-major ([in][out]), fp16 or bf16.
//
// One arithmetic, in fp32, of its own (not that of product_cuda.h):
//   range   256 neurons with consecutive indices: acc = +0; for each neuron i of it that is not
//           zero, ascending: acc = fma(x[r][i], w[i][o], acc); the range's sum is acc + 0
//   section 8 consecutive ranges, their sums added in ascending order
//   y[r][o] the sections' sums added in ascending order, + bias[o]
// Ranges and sections are cut by neuron index, never by position in a list of active neurons, and
// a row's zeros are passed over even where a neighbour needs the same weights. So a row's bits
// depend on that row alone, whatever the number of rows, the neighbours and the device.
// Finite weights at zero neurons would have added exactly nothing, so no neuron's share is lost.
//
// Every row is a product of its own, next to the others in the device's order of work: weights that
// several rows need come from memory once and then from L2. So the time of few rows goes with the
// union of their active neurons, that of many with the sum; a dense product serves many rows
// better.
#ifndef PAMIR_KERNELS_PRODUCT_SKIP_NEURONS_CUDA_H_
#define PAMIR_KERNELS_PRODUCT_SKIP_NEURONS_CUDA_H_

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/stream.h"

namespace pamir::kernels::cuda {

inline constexpr int64_t kSkipRange = 256;  // neurons
inline constexpr int64_t kSkipRanges = 8;   // of a section
inline constexpr int64_t kSkipSection = kSkipRange * kSkipRanges;
inline constexpr int64_t kMaxSkipNeuronsRows = 65535;

// All pointers are device memory.
struct SkipNeuronsArgs {
  // fp16 or bf16 as `type` says, 16-byte aligned, x_stride a multiple of 8, readable up to it.
  const void* x = nullptr;
  int64_t rows = 0;
  int64_t x_stride = 0;
  // [rows] or null: the row of x that is multiplied and the row of y that is written, each at most
  // once; negative: none.
  const int32_t* index = nullptr;
  const void* w = nullptr;  // [in][out], finite, 16-byte aligned, out a multiple of 8
  int64_t out = 0;
  int64_t in = 0;
  DType type = DType::kFloat16;  // of x and w; kFloat32 is refused
  const float* bias = nullptr;   // [out] or null
  float* y = nullptr;            // [rows][y_stride], not aliasing x
  int64_t y_stride = 0;
  // SkipNeuronsScratchBytes(scratch_rows, ...), 16-byte aligned, zeroed once before its first use.
  // It serves one launch at a time, for one (out, in), with rows <= scratch_rows.
  void* scratch = nullptr;
  int64_t scratch_rows = 0;
  bool dependent_launch = false;  // see kernels/cuda/launch.cuh; ignored before 9.0
};

size_t SkipNeuronsScratchBytes(int64_t rows, int64_t out, int64_t in);

// The bits are the same.
enum class SkipNeuronsWay : uint8_t {
  kBest,
  kSmall,  // with little shared memory, as older devices take it; for tests
};

// Enqueues one kernel; returns 0 or a cudaError_t (cudaErrorInvalidValue for bad arguments).
// Captures into graphs.
int SkipNeuronsCuda(const SkipNeuronsArgs& args, StreamRef stream,
                    SkipNeuronsWay way = SkipNeuronsWay::kBest);

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_SKIP_NEURONS_CUDA_H_
