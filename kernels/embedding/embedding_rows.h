// One token of embedding.h: with the machine's vectors, and as plain loops. Conversions to float
// are exact, so both give the same bits.
#ifndef PAMIR_KERNELS_EMBEDDING_EMBEDDING_ROWS_H_
#define PAMIR_KERNELS_EMBEDDING_EMBEDDING_ROWS_H_

#include "kernels/embedding/embedding.h"

namespace pamir::kernels {

// out = row `row` of a kPanels matrix.
void GatherRow(const Matrix& table, int64_t row, float* out);
void GatherRowReference(const Matrix& table, int64_t row, float* out);

// x += row `row` of a row-major [rows][width] table.
void AddRow(const void* table, DType dtype, int64_t width, int64_t row, float* x);
void AddRowReference(const void* table, DType dtype, int64_t width, int64_t row, float* x);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_EMBEDDING_EMBEDDING_ROWS_H_
