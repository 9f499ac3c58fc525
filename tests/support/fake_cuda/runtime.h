// The table's functions, of the fake device.
#ifndef PAMIR_TESTS_SUPPORT_FAKE_CUDA_RUNTIME_H_
#define PAMIR_TESTS_SUPPORT_FAKE_CUDA_RUNTIME_H_

#include "kernels/cuda/cuda_api.h"

namespace pamir::testing {

// Each fills its part.
void FillRuntime(kernels::CudaApi* api);  // devices, memory, streams, events, graphs
void FillCopies(kernels::CudaApi* api);
void FillRows(kernels::CudaApi* api);  // embeddings, norms
void FillAttention(kernels::CudaApi* api);
void FillSampling(kernels::CudaApi* api);
void FillMoves(kernels::CudaApi* api);  // kernels/convert
void FillProducts(kernels::CudaApi* api);
void FillSkipNeurons(kernels::CudaApi* api);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_FAKE_CUDA_RUNTIME_H_
