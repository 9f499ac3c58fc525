#include "absl/strings/str_cat.h"
#include "core/spec/model_spec.h"

namespace pamir::spec {
namespace {

class TensorList {
 public:
  explicit TensorList(const ModelSpec& spec) : spec_(spec) {}

  void Add(const std::string& name, std::vector<int64_t> shape) {
    tensors_.push_back({name, std::move(shape)});
  }

  void Norm(const std::string& prefix) {
    if (!spec_.norm_affine) return;
    Add(absl::StrCat(prefix, ".weight"), {spec_.hidden});
    Add(absl::StrCat(prefix, ".bias"), {spec_.hidden});
  }

  void Linear(const std::string& prefix, int64_t out, int64_t in) {
    Add(absl::StrCat(prefix, ".weight"), {out, in});
    if (spec_.bias) Add(absl::StrCat(prefix, ".bias"), {out});
  }

  std::vector<TensorSpec> Take() { return std::move(tensors_); }

 private:
  const ModelSpec& spec_;
  std::vector<TensorSpec> tensors_;
};

void AddLayer(const ModelSpec& spec, int64_t index, TensorList& list) {
  const std::string layer = absl::StrCat("model.decoder.layers.", index);
  list.Norm(layer + ".self_attn_layer_norm");
  for (const char* part : {"q", "k", "v", "out"}) {
    list.Linear(absl::StrCat(layer, ".self_attn.", part, "_proj"), spec.hidden, spec.hidden);
  }
  list.Norm(layer + ".final_layer_norm");  // the layer's second norm, not the decoder's last
  list.Linear(layer + ".fc1", spec.ffn, spec.hidden);
  list.Linear(layer + ".fc2", spec.hidden, spec.ffn);
}

}  // namespace

int64_t TensorSpec::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

std::vector<TensorSpec> CheckpointTensors(const ModelSpec& spec) {
  TensorList list(spec);
  list.Add("model.decoder.embed_tokens.weight", {spec.vocab, spec.embed});
  list.Add("model.decoder.embed_positions.weight", {spec.positions + 2, spec.hidden});
  if (spec.projected()) {
    list.Add("model.decoder.project_in.weight", {spec.hidden, spec.embed});
    list.Add("model.decoder.project_out.weight", {spec.embed, spec.hidden});
  }
  for (int64_t i = 0; i < spec.layers; ++i) AddLayer(spec, i, list);
  if (spec.final_norm) list.Norm("model.decoder.final_layer_norm");
  if (!spec.tied) list.Add("lm_head.weight", {spec.vocab, spec.embed});
  return list.Take();
}

int64_t ParameterCount(const ModelSpec& spec) {
  int64_t total = 0;
  for (const TensorSpec& tensor : CheckpointTensors(spec)) total += tensor.elements();
  return total;
}

}  // namespace pamir::spec
