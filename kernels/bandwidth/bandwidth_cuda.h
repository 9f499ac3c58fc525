// How fast a CUDA device reads memory that it only reads: the limit that steps are held against.
#ifndef PAMIR_KERNELS_BANDWIDTH_BANDWIDTH_CUDA_H_
#define PAMIR_KERNELS_BANDWIDTH_BANDWIDTH_CUDA_H_

#include <cstdint>

#include "base/stream.h"

namespace pamir::kernels {

// Reads `bytes` of `data` once (16-byte aligned, a multiple of 16) and keeps nothing of it. `sink`:
// 4 bytes of device memory that the compiler must think may be written. Returns 0 or a cudaError_t;
// only enqueues.
int ReadBandwidthCuda(const void* data, int64_t bytes, float* sink, StreamRef stream);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_BANDWIDTH_BANDWIDTH_CUDA_H_
