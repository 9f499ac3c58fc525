// What a rank is to load. Made by the coordinator from its command line, read by the engine's
// factory in the worker.
#ifndef PAMIR_CORE_FLOW_LOAD_REQUEST_H_
#define PAMIR_CORE_FLOW_LOAD_REQUEST_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "base/ids.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"

namespace pamir::flow {

enum class LoadFormat : uint8_t {
  kAuto,   // the checkpoint in model_directory
  kDummy,  // values made from a seed, no files
};

// The same choice as comm::Transport, which core cannot see.
enum class RankTransport : uint8_t { kAuto, kShm, kGloo, kNccl, kStaged };

struct LoadRequest {
  Epoch epoch;
  int32_t rank = 0;           // of plan.ranks()
  int32_t ranks_on_host = 1;  // this one among them: ranks spin only where there are cores for all
  int32_t threads = 0;        // of the kernel pool; 0 = the worker decides
  std::string model_directory;  // as the worker's host sees it
  LoadFormat format = LoadFormat::kAuto;
  uint64_t dummy_seed = 0;
  double dummy_relu_density = 0.5;  // share of positive fc1 outputs, 0 .. 1
  spec::ModelSpec model;
  spec::ShardPlan plan;
  RankTransport transport = RankTransport::kAuto;
  absl::Duration comm_timeout = absl::Seconds(30);  // of one collective operation

  friend bool operator==(const LoadRequest&, const LoadRequest&) = default;
};

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_LOAD_REQUEST_H_
