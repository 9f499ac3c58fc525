// Residual + bias + LayerNorm, fused: x += delta + bias; y = (x - mean) / sqrt(var + eps) * gamma +
// beta. Mean and variance (biased) in fp32 over the row in a fixed order.
#ifndef PAMIR_KERNELS_NORM_NORM_H_
#define PAMIR_KERNELS_NORM_NORM_H_

#include <cstdint>

#include "base/kernel_context.h"

namespace pamir::kernels {

struct NormArgs {
  int64_t rows = 0;
  int64_t width = 0;
  float* x = nullptr;            // [rows][width], the residual stream; updated where delta is given
  const float* delta = nullptr;  // [rows][width] or null: x stays
  const float* bias = nullptr;   // [width] or null
  bool normalize = true;         // false: only the addition
  const float* gamma = nullptr;  // [width] or null: 1
  const float* beta = nullptr;   // [width] or null: 0
  float epsilon = 1e-5f;
  float* y = nullptr;  // [rows][width]; may be x (post-norm models)
};

void AddNorm(const KernelContext& context, const NormArgs& args);
void AddNormReference(const NormArgs& args);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_NORM_NORM_H_
