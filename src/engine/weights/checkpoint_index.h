// model.safetensors.index.json: which shard holds which tensor. A pure function of the text.
#ifndef PAMIR_ENGINE_WEIGHTS_CHECKPOINT_INDEX_H_
#define PAMIR_ENGINE_WEIGHTS_CHECKPOINT_INDEX_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace pamir::weights {

inline constexpr int64_t kMaxIndexBytes = 64'000'000;

struct IndexEntry {
  std::string tensor;
  std::string shard;  // a plain file name, of the index's own directory
};

// The entries of weight_map, sorted by tensor. Errors: not JSON, no weight_map, a tensor named
// twice, a shard that is no plain file name.
absl::StatusOr<std::vector<IndexEntry>> ParseCheckpointIndex(const std::string& json);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_CHECKPOINT_INDEX_H_
