#include "kernels/embedding/embedding_rows.h"

namespace pamir::kernels {

void GatherRowReference(const Matrix& table, int64_t row, float* out) {
  for (int64_t k = 0; k < table.in; ++k) out[k] = WeightAt(table, row, k);
}

void AddRowReference(const void* table, DType dtype, int64_t width, int64_t row, float* x) {
  for (int64_t i = 0; i < width; ++i) x[i] += LoadAsFloat(dtype, table, row * width + i);
}

}  // namespace pamir::kernels
