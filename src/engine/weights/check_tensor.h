// What a tensor must be before it is used: there, of the right shape, and finite.
#ifndef PAMIR_ENGINE_WEIGHTS_CHECK_TENSOR_H_
#define PAMIR_ENGINE_WEIGHTS_CHECK_TENSOR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "core/spec/model_spec.h"
#include "engine/weights/tensor_source.h"

namespace pamir::weights {

// The source's tensor, which must have the shape that the configuration foretells. NOT_FOUND, or
// INVALID_ARGUMENT that names both shapes.
absl::StatusOr<TensorInfo> FindChecked(const TensorSource& source,
                                       const spec::TensorSpec& expected);

// "[768, 3072]".
std::string ShapeText(const std::vector<int64_t>& shape);

// The index of the first value that is not finite once it is `to`, or -1. A finite fp32 or bf16
// value may be too large for fp16.
int64_t FirstNotFinite(DType from, DType to, const void* data, int64_t count);

// INVALID_ARGUMENT naming the tensor, the place ([row, column]) and the value, for a dense block of
// `rows` x `columns` values of the tensor that begins at [first_row, first_column].
absl::Status CheckFinite(const std::string& tensor, DType from, DType to, const void* data,
                         int64_t rows, int64_t columns, int64_t first_row, int64_t first_column);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_CHECK_TENSOR_H_
