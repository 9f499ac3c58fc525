// Where a checkpoint's tensors come from: files, or a function of the seed. Thread-safe.
#ifndef PAMIR_ENGINE_WEIGHTS_TENSOR_SOURCE_H_
#define PAMIR_ENGINE_WEIGHTS_TENSOR_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "base/units.h"
#include "core/spec/model_spec.h"

namespace pamir::weights {

struct TensorInfo {
  DType dtype = DType::kFloat16;
  std::vector<int64_t> shape;
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // NOT_FOUND names the tensor and where it was looked for. Names are those of CheckpointTensors;
  // a file without the "model." prefix is understood.
  virtual absl::StatusOr<TensorInfo> Find(const std::string& name) const = 0;

  // Rows and columns of a matrix, row-major and dense, in the tensor's dtype. A vector is a matrix
  // of one column. Reads only those bytes (and at most what lies between near ones). An error names
  // file, tensor and offset.
  virtual absl::Status Read(const std::string& name, Range rows, Range columns,
                            void* out) const = 0;
};

// A Hugging Face directory: model.safetensors, or model.safetensors.index.json and its shards.
// Headers are read and checked here; data only by Read (pread, no mapping).
absl::StatusOr<std::unique_ptr<TensorSource>> OpenCheckpoint(const std::string& directory);

struct DummyOptions {
  uint64_t seed = 0;
  // Share of fc1 outputs that are positive, by shifting fc1's biases; 0.5 leaves them alone. Models
  // without biases cannot be shifted: theirs is 0.5 whatever stands here.
  double relu_density = 0.5;
};

// Every tensor of the model without files: a value is a function of (seed, tensor, index) alone, so
// every shard plan and device holds the same model. Tensors are fp16 whatever the model's dtype;
// matrices, biases and norms are spread as OPT's are at the start of training (deviation 0.02).
std::unique_ptr<TensorSource> MakeDummySource(const spec::ModelSpec& model,
                                              const DummyOptions& options);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_TENSOR_SOURCE_H_
