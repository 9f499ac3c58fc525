// One rank of an OPT model: its slice of the weights, its part of the KV pool, and the forward pass
// from a StepPlan to sampled tokens.
#ifndef PAMIR_ENGINE_MODEL_OPT_RANK_H_
#define PAMIR_ENGINE_MODEL_OPT_RANK_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/flow/ports.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/comm/communicator.h"
#include "engine/weights/rank_weights.h"

namespace pamir::model {

struct OptRankOptions {
  spec::ModelSpec model;
  spec::ShardPlan plan;
  int rank = 0;
  int threads = 1;  // of the kernel pool
  // Sees every fc1 output after the activation ([rows][width]), to measure how sparse it is. May be
  // null.
  std::function<void(int64_t layer, int64_t rows, int64_t width, const float* values)> ffn_observer;
};

struct OptRankSizes {
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t buffer_bytes = 0;
};

// Allocates everything here; Step allocates nothing of note. `groups` are connected; a plan of one
// rank needs none (null members).
absl::StatusOr<std::unique_ptr<flow::Rank>> MakeOptRank(const OptRankOptions& options,
                                                        weights::RankWeights weights,
                                                        comm::Groups groups, OptRankSizes* sizes);

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_OPT_RANK_H_
