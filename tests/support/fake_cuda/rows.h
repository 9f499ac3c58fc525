// A row's norm, which stands alone and in front of products.
#ifndef PAMIR_TESTS_SUPPORT_FAKE_CUDA_ROWS_H_
#define PAMIR_TESTS_SUPPORT_FAKE_CUDA_ROWS_H_

#include <cstdint>

namespace pamir::testing {

// y = LayerNorm(x); gamma and beta may be null; y may be x.
void NormRow(const float* x, int64_t width, const float* gamma, const float* beta, float epsilon,
             float* y);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_FAKE_CUDA_ROWS_H_
