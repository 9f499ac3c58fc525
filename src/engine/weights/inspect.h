// What the tools say about models: `pamir model inspect | verify | synth`.
#ifndef PAMIR_ENGINE_WEIGHTS_INSPECT_H_
#define PAMIR_ENGINE_WEIGHTS_INSPECT_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/weights/rank_weights.h"
#include "engine/weights/tensor_source.h"

namespace pamir::weights {

// A page of text, lines ending in \n: the model's shape, its parameters and bytes, and a table of
// what each rank of the plan holds. The plan must have passed CheckShardPlan.
std::string DescribeModel(const spec::ModelSpec& model, const spec::ShardPlan& plan);

// Reads all data of all tensors and checks it against the configuration: there, of the right shape,
// finite. INVALID_ARGUMENT lists the problems, one a line, up to kMaxProblems.
inline constexpr int kMaxProblems = 20;
absl::Status VerifyCheckpoint(const spec::ModelSpec& model, const TensorSource& source,
                              const std::function<void(LoadProgress)>& progress);

// Ids of the byte tokenizer that WriteSynthetic makes: 4 special ones, then one for each byte.
inline constexpr int64_t kByteVocabulary = 260;

// Bytes of data of a file, above which WriteSynthetic begins another.
inline constexpr int64_t kMaxSyntheticShardBytes = 2'000'000'000;

// Writes MakeDummySource's model as a Hugging Face directory, in fp16: config.json,
// generation_config.json, safetensors (several with an index where one would be above
// `max_shard_bytes`), vocab.json and merges.txt of a byte tokenizer. Holds a few MB whatever the
// model. The directory is made where it is missing and refused where it holds anything
// (FAILED_PRECONDITION); after an error what was written stays, without config.json.
absl::Status WriteSynthetic(const spec::ModelSpec& model, const DummyOptions& options,
                            const std::string& directory,
                            const std::function<void(LoadProgress)>& progress,
                            int64_t max_shard_bytes = kMaxSyntheticShardBytes);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_INSPECT_H_
