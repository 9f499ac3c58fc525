// Writes one safetensors file from a source, a few MB at a time.
#ifndef PAMIR_ENGINE_WEIGHTS_SHARD_WRITER_H_
#define PAMIR_ENGINE_WEIGHTS_SHARD_WRITER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/spec/model_spec.h"
#include "engine/weights/progress.h"
#include "engine/weights/tensor_source.h"

namespace pamir::weights {

// The header (its length first, padded so that data begins at a multiple of 8) for tensors of fp16
// that lie one after the other.
std::string Fp16ShardHeader(const std::vector<spec::TensorSpec>& tensors);

// A new file; one that is there is an error. The source's tensors must be fp16.
absl::Status WriteFp16Shard(const std::string& path, const std::vector<spec::TensorSpec>& tensors,
                            const TensorSource& source, ProgressMeter& meter);

// A new small file.
absl::Status WriteTextFile(const std::string& path, const std::string& text);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_SHARD_WRITER_H_
