// config.json as Hugging Face's OPTConfig writes it.
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "core/spec/model_spec.h"

namespace pamir::spec {
namespace {

using Json = nlohmann::json;

// Far above every OPT model, low enough that no product of sizes overflows.
constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHidden = 1 << 16;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxFfn = 1 << 19;
constexpr int64_t kMaxVocab = 1 << 20;
constexpr int64_t kMaxPositions = 1 << 17;
constexpr size_t kMaxShownValue = 60;

// Reads fields of one object and keeps the first thing that was wrong. null means absent.
class Fields {
 public:
  Fields(const Json& object, const std::string& model) : object_(object), model_(model) {}

  bool Has(const char* name) const { return object_.contains(name) && !object_[name].is_null(); }

  int64_t Required(const char* name, int64_t low, int64_t high) {
    if (Has(name)) return Integer(name, low, low, high);
    Fail(absl::StrCat(name, " is missing; it must be an integer from ", low, " to ", high));
    return low;
  }

  int64_t Integer(const char* name, int64_t otherwise, int64_t low, int64_t high) {
    if (!Has(name)) return otherwise;
    const Json& value = object_[name];
    // An unsigned number above int64's range must not wrap round to a small one.
    const bool in_range =
        value.is_number_unsigned()
            ? value.get<uint64_t>() <= static_cast<uint64_t>(high) && value.get<int64_t>() >= low
            : value.is_number_integer() && value.get<int64_t>() >= low &&
                  value.get<int64_t>() <= high;
    if (in_range) return value.get<int64_t>();
    Wrong(name, absl::StrCat("it must be an integer from ", low, " to ", high));
    return otherwise;
  }

  bool Boolean(const char* name, bool otherwise) {
    if (!Has(name)) return otherwise;
    if (object_[name].is_boolean()) return object_[name].get<bool>();
    Wrong(name, "it must be true or false");
    return otherwise;
  }

  std::string Text(const char* name, const std::string& otherwise) {
    if (!Has(name)) return otherwise;
    if (object_[name].is_string()) return object_[name].get<std::string>();
    Wrong(name, "it must be a string");
    return otherwise;
  }

  void Wrong(const char* name, const std::string& right) {
    std::string shown = object_[name].dump(-1, ' ', true, Json::error_handler_t::replace);
    if (shown.size() > kMaxShownValue) shown = shown.substr(0, kMaxShownValue) + "...";
    Fail(absl::StrCat(name, " is ", shown, "; ", right));
  }

  void Fail(const std::string& what) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat("config.json of ", model_, ": ", what));
  }

  const absl::Status& status() const { return status_; }

 private:
  const Json& object_;
  const std::string& model_;
  absl::Status status_;
};

void CheckArchitecture(Fields& fields) {
  if (!fields.Has("model_type")) {
    fields.Fail("model_type is missing; Pamir serves OPT models, whose model_type is \"opt\"");
  } else if (fields.Text("model_type", "") != "opt") {
    fields.Wrong("model_type", "Pamir serves OPT models, whose model_type is \"opt\"");
  }
  if (fields.Has("quantization_config")) {
    fields.Fail(
        "quantization_config is present; quantized checkpoints are not understood, use one in "
        "float16, bfloat16 or float32");
  }
}

void ReadSizes(Fields& fields, ModelSpec& spec) {
  spec.layers = fields.Required("num_hidden_layers", 1, kMaxLayers);
  spec.hidden = fields.Required("hidden_size", 1, kMaxHidden);
  spec.heads = fields.Required("num_attention_heads", 1, kMaxHeads);
  spec.ffn = fields.Required("ffn_dim", 1, kMaxFfn);
  spec.vocab = fields.Required("vocab_size", 1, kMaxVocab);
  spec.positions = fields.Integer("max_position_embeddings", 2048, 1, kMaxPositions);
  spec.embed = fields.Integer("word_embed_proj_dim", spec.hidden, 1, kMaxHidden);
  if (spec.hidden % spec.heads != 0) {
    fields.Wrong("num_attention_heads",
                 absl::StrCat("it must divide hidden_size, which is ", spec.hidden));
  }
}

void ReadVariants(Fields& fields, ModelSpec& spec) {
  spec.pre_norm = fields.Boolean("do_layer_norm_before", true);
  const bool removed = fields.Boolean("_remove_final_layer_norm", false);
  spec.final_norm = spec.pre_norm && !removed;
  spec.bias = fields.Boolean("enable_bias", true);
  spec.norm_affine = fields.Boolean("layer_norm_elementwise_affine", true);
  spec.tied = fields.Boolean("tie_word_embeddings", true);
  const std::string activation = fields.Text("activation_function", "relu");
  if (activation == "gelu") {
    spec.activation = Activation::kGelu;
  } else if (activation != "relu") {
    fields.Wrong("activation_function", "it must be \"relu\" or \"gelu\"");
  }
}

void ReadDType(Fields& fields, ModelSpec& spec) {
  // Newer versions of transformers write "dtype", older ones "torch_dtype".
  const char* field = fields.Has("dtype") ? "dtype" : "torch_dtype";
  const std::optional<DType> dtype = DTypeFromName(fields.Text(field, "float16"));
  if (dtype.has_value()) {
    spec.dtype = *dtype;
  } else {
    fields.Wrong(field, "it must be \"float16\", \"bfloat16\" or \"float32\"");
  }
}

}  // namespace

absl::StatusOr<ModelSpec> ParseModelConfig(const std::string& json, const std::string& name) {
  if (json.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(absl::StrCat("config.json of ", name, " has ", json.size(),
                                                   " bytes; at most ", kMaxConfigBytes,
                                                   " are read"));
  }
  const Json object = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json of ", name, " is not a JSON object: ",
                     object.is_discarded() ? "it cannot be parsed" : object.type_name()));
  }
  Fields fields(object, name);
  ModelSpec spec;
  spec.name = name;
  CheckArchitecture(fields);
  ReadSizes(fields, spec);
  ReadVariants(fields, spec);
  ReadDType(fields, spec);
  spec.bos = static_cast<TokenId>(fields.Integer("bos_token_id", 2, 0, spec.vocab - 1));
  spec.eos = static_cast<TokenId>(fields.Integer("eos_token_id", 2, 0, spec.vocab - 1));
  spec.pad = static_cast<TokenId>(fields.Integer("pad_token_id", 1, 0, spec.vocab - 1));
  PAMIR_RETURN_IF_ERROR(fields.status());
  return spec;
}

std::string WriteModelConfig(const ModelSpec& spec) {
  const Json object = {
      {"model_type", "opt"},
      {"architectures", {"OPTForCausalLM"}},
      {"num_hidden_layers", spec.layers},
      {"hidden_size", spec.hidden},
      {"num_attention_heads", spec.heads},
      {"ffn_dim", spec.ffn},
      {"vocab_size", spec.vocab},
      {"max_position_embeddings", spec.positions},
      {"word_embed_proj_dim", spec.embed},
      {"do_layer_norm_before", spec.pre_norm},
      {"_remove_final_layer_norm", spec.pre_norm && !spec.final_norm},
      {"enable_bias", spec.bias},
      {"layer_norm_elementwise_affine", spec.norm_affine},
      {"tie_word_embeddings", spec.tied},
      {"activation_function", spec.activation == Activation::kGelu ? "gelu" : "relu"},
      {"torch_dtype", Name(spec.dtype)},
      {"bos_token_id", spec.bos},
      {"eos_token_id", spec.eos},
      {"pad_token_id", spec.pad},
  };
  return object.dump(2) + "\n";
}

}  // namespace pamir::spec
