// What an OPT model is: config.json understood and checked. Plain data.
#ifndef PAMIR_CORE_SPEC_MODEL_SPEC_H_
#define PAMIR_CORE_SPEC_MODEL_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "base/ids.h"

namespace pamir::spec {

enum class Activation : uint8_t { kRelu, kGelu };

struct ModelSpec {
  std::string name;  // "opt-13b", or the directory's name
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;
  int64_t ffn = 0;
  int64_t vocab = 0;         // rows of the embedding table (50272 for OPT; the last 7 are padding)
  int64_t positions = 2048;  // context; the learned table has positions + 2 rows
  int64_t embed = 0;         // word_embed_proj_dim; projected to hidden where it differs
  bool pre_norm = true;      // do_layer_norm_before
  bool final_norm = true;    // pre_norm and not _remove_final_layer_norm
  bool bias = true;          // enable_bias
  bool norm_affine = true;   // layer_norm_elementwise_affine
  bool tied = true;          // tie_word_embeddings: the LM head is the embedding table
  Activation activation = Activation::kRelu;
  DType dtype = DType::kFloat16;  // of the checkpoint, as config.json says
  TokenId bos = 2, eos = 2, pad = 1;

  int64_t head_dim() const { return hidden / heads; }
  bool projected() const { return embed != hidden; }
  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

// Reads config.json's text. `name` goes into the result. Errors name the field, what it is and what
// would be right: unknown architecture, missing or absurd sizes, heads that do not divide hidden.
// Layers, hidden, heads, ffn and vocabulary must be there; all else has OPTConfig's defaults (the
// dtype: float16). null counts as absent.
absl::StatusOr<ModelSpec> ParseModelConfig(const std::string& json, const std::string& name);

// The same as config.json, such that ParseModelConfig gives it back.
std::string WriteModelConfig(const ModelSpec& spec);

// "opt-125m" .. "opt-175b", also without "opt-"; NOT_FOUND lists the names.
absl::StatusOr<ModelSpec> NamedModel(const std::string& name);
std::vector<std::string> NamedModels();

// All tensors of a checkpoint of this model, in Hugging Face names and shapes ([out, in]).
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  int64_t elements() const;
};
std::vector<TensorSpec> CheckpointTensors(const ModelSpec& spec);
int64_t ParameterCount(const ModelSpec& spec);

}  // namespace pamir::spec

#endif  // PAMIR_CORE_SPEC_MODEL_SPEC_H_
