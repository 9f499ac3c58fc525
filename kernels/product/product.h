// y = epilogue(x · Wᵀ): every matrix product of the model.
//
// One arithmetic (docs/ARCHITECTURE.md): output y[r][o] is acc = +0; for k ascending
// acc = fma(x[r][k], w[o][k], acc), in fp32; then + bias[o]; then the activation. The bits do not
// depend on the number of rows, on the path taken or on the thread count. Skipping a k where
// x[r][k] is zero changes nothing (weights are finite, checked when they are loaded).
#ifndef PAMIR_KERNELS_PRODUCT_PRODUCT_H_
#define PAMIR_KERNELS_PRODUCT_PRODUCT_H_

#include <cstdint>

#include "base/dtype.h"
#include "base/kernel_context.h"
#include "kernels/product/activation.h"

namespace pamir::kernels {

// Outputs of a panel; every out dimension is padded to it with zero weights.
inline constexpr int64_t kPanelOutputs = 16;

// How weights [out, in] lie in memory, so that vectors run over outputs.
enum class WeightLayout : uint8_t {
  kPanels,   // [out_padded / 16][in][16]: for dense inputs
  kNeurons,  // [in][out_padded]: one input's weights together, skipped where that input is zero
             // (fc2)
};

// A view; the weights room owns the bytes. data is 64-byte aligned.
struct Matrix {
  const void* data = nullptr;
  DType dtype = DType::kFloat16;
  WeightLayout layout = WeightLayout::kPanels;
  int64_t out = 0;
  int64_t in = 0;
};

int64_t PackedBytes(WeightLayout layout, DType dtype, int64_t out, int64_t in);

// Writes the block of W with rows out_begin .. out_begin + out_count - 1 and all `in` columns into
// a packed matrix at `data` (whose shape is `matrix`), from row-major `source` with `source_stride`
// elements a row, converting dtype. Blocks may be packed by several threads at once where they do
// not share a panel of outputs (kPanels) or an output (kNeurons). Padding outputs must have been
// zeroed.
void PackRows(const Matrix& matrix, void* data, int64_t out_begin, int64_t out_count,
              const void* source, DType source_dtype, int64_t source_stride);

// W[o][k] of a packed matrix, for references and tests.
float WeightAt(const Matrix& w, int64_t o, int64_t k);

struct ProductArgs {
  const float* x = nullptr;  // [rows][x_stride], the first w.in of each row are used
  int64_t rows = 0;
  int64_t x_stride = 0;
  Matrix w;
  const float* bias = nullptr;  // [w.out] or null
  Activation activation = Activation::kNone;
  float* y = nullptr;  // [rows][y_stride]; the first w.out of each row are written. Not aliasing x
  int64_t y_stride = 0;
  void* scratch = nullptr;  // ProductScratchBytes(...), 64-byte aligned
};

// Bytes of scratch that any product of up to these sizes needs with `threads` threads.
int64_t ProductScratchBytes(int64_t rows_max, int64_t in_max, int64_t out_max, int threads);

void Product(const KernelContext& context, const ProductArgs& args);

// The plain loops that Product is judged by.
void ProductReference(const ProductArgs& args);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_PRODUCT_PRODUCT_H_
