// The streaming kernels for float16; the types are compiled apart, since each takes its minute.
#include "kernels/product/stream_kernel.cuh"

namespace pamir::kernels::cuda {

const StreamKernels kStreamKernelsFloat16[kStreamTiles] = PAMIR_STREAM_KERNELS(DType::kFloat16);

}  // namespace pamir::kernels::cuda
