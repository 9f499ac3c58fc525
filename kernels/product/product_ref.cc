#include <cmath>

#include "kernels/product/epilogue.h"
#include "kernels/product/product.h"

namespace pamir::kernels {

float WeightAt(const Matrix& w, int64_t o, int64_t k) {
  const int64_t out_padded = (w.out + kPanelOutputs - 1) / kPanelOutputs * kPanelOutputs;
  const int64_t index = w.layout == WeightLayout::kPanels
                            ? (o / kPanelOutputs * w.in + k) * kPanelOutputs + o % kPanelOutputs
                            : k * out_padded + o;
  return LoadAsFloat(w.dtype, w.data, index);
}

void ProductReference(const ProductArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t o = 0; o < args.w.out; ++o) {
      float sum = 0;
      for (int64_t k = 0; k < args.w.in; ++k) {
        sum = std::fma(args.x[r * args.x_stride + k], WeightAt(args.w, o, k), sum);
      }
      const float* bias = args.bias == nullptr ? nullptr : args.bias + o;
      args.y[r * args.y_stride + o] = FinishOutput(sum, bias, args.activation);
    }
  }
}

}  // namespace pamir::kernels
