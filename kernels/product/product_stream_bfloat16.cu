// The streaming kernels for bfloat16; the types are compiled apart, since each takes its minute.
#include "kernels/product/stream_kernel.cuh"

namespace pamir::kernels::cuda {

const StreamKernels kStreamKernelsBFloat16[kStreamTiles] = PAMIR_STREAM_KERNELS(DType::kBFloat16);

}  // namespace pamir::kernels::cuda
