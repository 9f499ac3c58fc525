// Launching a kernel, alone or as the programmatic dependent of the one before it in the stream.
//
// A dependent kernel may start while its predecessors still run: it calls AwaitPrevious() before it
// reads anything that a kernel of this step wrote, and before it writes anything. All of them are
// behind it then, since the direct predecessor has ended and had awaited its own. AllowNext() may
// come before that or after: early, so that the next kernel can fetch weights; late, so that its
// blocks are not in the way.
#ifndef PAMIR_KERNELS_CUDA_LAUNCH_CUH_
#define PAMIR_KERNELS_CUDA_LAUNCH_CUH_

#include <cuda_runtime.h>

#include "base/stream.h"

namespace pamir::kernels::cuda {

__device__ __forceinline__ void AwaitPrevious() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

__device__ __forceinline__ void AllowNext() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

struct Shape {
  dim3 grid;
  unsigned threads = 1;
  size_t shared_bytes = 0;
  bool dependent = false;  // programmatic dependent launch; devices before 9.0 refuse it
  unsigned cluster = 0;    // blocks of a cluster, 9.0 and later only; 0: no clusters
};

// Returns a cudaError_t as int. Raises the kernel's limit of shared memory where it needs more.
template <typename... Parameters, typename... Arguments>
int Launch(StreamRef stream, const Shape& shape, void (*kernel)(Parameters...),
           Arguments... arguments) {
  // The default limit is 48 KiB for static and dynamic together; this leaves room for the static.
  constexpr size_t kDynamicBytesByDefault = 40 * 1024;
  if (shape.shared_bytes > kDynamicBytesByDefault) {
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(shape.shared_bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream.handle);
  cudaLaunchAttribute attributes[2] = {};
  config.attrs = attributes;
  if (shape.dependent) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cluster > 0) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = shape.cluster;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  }
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_CUDA_LAUNCH_CUH_
