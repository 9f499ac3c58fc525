// What happens to a finished sum. The reference and every fast path call this same code.
#ifndef PAMIR_KERNELS_PRODUCT_EPILOGUE_H_
#define PAMIR_KERNELS_PRODUCT_EPILOGUE_H_

#include <cmath>

#include "kernels/product/product.h"

namespace pamir::kernels {

inline float Gelu(float v) { return 0.5f * v * (1 + std::erf(v * 0.70710678f)); }

// A sum that underflowed to -0 keeps its sign where a zero input is skipped, and loses it where
// fma(0, w, -0) = +0 is computed. Adding +0 makes both +0, so skipping changes no bit.
inline float FinishOutput(float sum, const float* bias, Activation activation) {
  float v = sum + 0.0f;
  if (bias != nullptr) v += *bias;
  if (activation == Activation::kRelu) return v > 0 ? v : 0;
  return activation == Activation::kGelu ? Gelu(v) : v;
}

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_PRODUCT_EPILOGUE_H_
