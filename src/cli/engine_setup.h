// From flags to what a coordinator needs: the model's shape, its shard plan, what ranks are to
// load, and its text.
#ifndef PAMIR_CLI_ENGINE_SETUP_H_
#define PAMIR_CLI_ENGINE_SETUP_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cli/device_choice.h"
#include "cli/options.h"
#include "core/flow/load_request.h"
#include "core/flow/ports.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"

namespace pamir::cli {

struct EngineSetup {
  std::string served_name;
  flow::LoadRequest load;  // model, plan and all that is the same for every rank
  std::unique_ptr<flow::Text> text;
};

// Reads config.json, vocab.json and merges.txt; checks everything that can be checked before a
// process starts. Errors say which flag and what would be right. `device`: what the ranks run on.
absl::StatusOr<EngineSetup> SetUpEngine(const EngineFlags& flags, const ClusterDevice& device);

// The model that --model names: a directory's config.json, or one of the named sizes.
absl::StatusOr<spec::ModelSpec> ReadModelSpec(const std::string& model);

// --dtype over what the checkpoint says.
absl::Status SetWeightDType(const std::string& dtype, spec::ShardPlan* plan);

// Whether --kv-cache-dtype asks for fp8. Errors: ranks on this device, with weights in this type,
// have no such cache.
absl::StatusOr<bool> WantsKvFp8(const std::string& kv_cache_dtype, spec::DeviceKind device,
                                DType weight_dtype);

}  // namespace pamir::cli

#endif  // PAMIR_CLI_ENGINE_SETUP_H_
