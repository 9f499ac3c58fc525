// Rows and columns of one stored tensor.
#ifndef PAMIR_ENGINE_WEIGHTS_READ_SLICE_H_
#define PAMIR_ENGINE_WEIGHTS_READ_SLICE_H_

#include "absl/status/status.h"
#include "base/units.h"
#include "engine/weights/file.h"
#include "engine/weights/safetensors_header.h"

namespace pamir::weights {

// As TensorSource::Read. Columns that are a part of each row are read row by row, or through what
// lies between them where that is little; at most 1 MiB is buffered.
absl::Status ReadSlice(const File& file, const StoredTensor& tensor, Range rows, Range columns,
                       void* out);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_READ_SLICE_H_
