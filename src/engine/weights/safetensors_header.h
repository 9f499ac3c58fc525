// The header of a safetensors file, as a pure function of its bytes: 8 bytes of length (little
// endian), that many bytes of JSON, then the data.
// Format: https://huggingface.co/docs/safetensors
#ifndef PAMIR_ENGINE_WEIGHTS_SAFETENSORS_HEADER_H_
#define PAMIR_ENGINE_WEIGHTS_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/weights/tensor_source.h"

namespace pamir::weights {

inline constexpr int64_t kHeaderLengthBytes = 8;
inline constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
inline constexpr size_t kMaxTensorDims = 8;
inline constexpr size_t kMaxTensorNameBytes = 512;

struct StoredTensor {
  std::string name;  // as in the file
  TensorInfo info;
  int64_t begin = 0;  // of its data, from the beginning of the file
  int64_t end = 0;
};

// The length of the JSON from the file's first 8 bytes; checked against the file's size.
absl::StatusOr<int64_t> HeaderLength(const uint8_t* first_bytes, int64_t file_size);

// All tensors, sorted by name. Holes between tensors are fine; overlaps, duplicate names or fields,
// unknown dtypes, and ranges outside the file or not shape x dtype are errors that name the tensor.
absl::StatusOr<std::vector<StoredTensor>> ParseSafetensorsHeader(const std::string& json,
                                                                 int64_t file_size);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_SAFETENSORS_HEADER_H_
