#include "core/spec/weight_layout.h"

#include "absl/strings/str_cat.h"

namespace pamir::spec {
namespace {

int64_t PieceBytes(const WeightPiece& piece, DType dtype) {
  switch (piece.form) {
    case WeightForm::kPanels:
    case WeightForm::kNeurons:
      return RoundUp(piece.rows, kOutputPadding) * piece.columns * SizeOf(dtype);
    case WeightForm::kRows:
    case WeightForm::kColumns:
    case WeightForm::kTable:
      return piece.rows * piece.columns * SizeOf(dtype);
    case WeightForm::kVector:
      return piece.rows * SizeOf(DType::kFloat32);
  }
  return 0;
}

// ReLU's zeros skip whole neurons: their weights lie together where something skips them.
WeightForm FormOfFc2(const ModelSpec& model, const ShardPlan& plan) {
  const bool relu = model.activation == Activation::kRelu;
  if (plan.device == DeviceKind::kCpu) return relu ? WeightForm::kNeurons : WeightForm::kPanels;
  return relu && plan.relu_skip != ReluSkip::kOff ? WeightForm::kColumns : WeightForm::kRows;
}

class Builder {
 public:
  Builder(const ModelSpec& model, const ShardPlan& plan, const TensorShard& shard)
      : model_(model),
        dtype_(plan.weight_dtype),
        alignment_(WeightAlignment(plan.device)),
        dense_(plan.device == DeviceKind::kCpu ? WeightForm::kPanels : WeightForm::kRows),
        fc2_(FormOfFc2(model, plan)),
        shard_(shard) {}

  void FirstStage() {
    Embedding(WeightRole::kEmbedding, "model.decoder.embed_tokens.weight");
    Whole(WeightRole::kPositions, WeightForm::kTable, "model.decoder.embed_positions.weight",
          model_.positions + 2, model_.hidden);
    if (!model_.projected()) return;
    Whole(WeightRole::kProjectIn, dense_, "model.decoder.project_in.weight", model_.hidden,
          model_.embed);
  }

  void LastStage(bool also_first) {
    if (model_.final_norm) {
      Norm(WeightRole::kFinalGamma, WeightRole::kFinalBeta, "model.decoder.final_layer_norm");
    }
    if (model_.projected()) {
      Whole(WeightRole::kProjectOut, dense_, "model.decoder.project_out.weight", model_.embed,
            model_.hidden);
    }
    if (!model_.tied) {
      Embedding(WeightRole::kLmHead, "lm_head.weight");
    } else if (!also_first) {
      Embedding(WeightRole::kLmHead, "model.decoder.embed_tokens.weight");
    }
  }

  void Layer(int64_t index) {
    layer_ = index;
    const std::string name = absl::StrCat("model.decoder.layers.", index);
    const Range hidden{0, model_.hidden};
    Norm(WeightRole::kAttentionGamma, WeightRole::kAttentionBeta, name + ".self_attn_layer_norm");
    Qkv(name + ".self_attn.");
    Matrix(WeightRole::kOut, dense_, name + ".self_attn.out_proj.weight", hidden, HeadColumns());
    Bias(WeightRole::kOutBias, name + ".self_attn.out_proj.bias", hidden);
    Norm(WeightRole::kFfnGamma, WeightRole::kFfnBeta, name + ".final_layer_norm");
    Matrix(WeightRole::kFc1, dense_, name + ".fc1.weight", shard_.ffn, hidden);
    Bias(WeightRole::kFc1Bias, name + ".fc1.bias", shard_.ffn);
    Matrix(WeightRole::kFc2, fc2_, name + ".fc2.weight", hidden, shard_.ffn);
    Bias(WeightRole::kFc2Bias, name + ".fc2.bias", hidden);
    layer_ = -1;
  }

  WeightLayout Take() { return std::move(layout_); }

 private:
  Range HeadColumns() const {
    return {shard_.heads.begin * model_.head_dim(), shard_.heads.end * model_.head_dim()};
  }

  void Add(WeightRole role, WeightForm form, std::vector<WeightSource> sources) {
    WeightPiece piece;
    piece.role = role;
    piece.layer = layer_;
    piece.form = form;
    piece.columns = sources.front().columns.size();
    for (const WeightSource& source : sources) piece.rows += source.rows.size();
    piece.sources = std::move(sources);
    piece.offset = layout_.bytes;
    piece.bytes = PieceBytes(piece, dtype_);
    layout_.bytes = RoundUp(piece.offset + piece.bytes, alignment_);
    layout_.pieces.push_back(std::move(piece));
  }

  void Matrix(WeightRole role, WeightForm form, const std::string& tensor, Range rows,
              Range columns) {
    Add(role, form, {{tensor, rows, columns, 0}});
  }

  void Whole(WeightRole role, WeightForm form, const std::string& tensor, int64_t rows,
             int64_t columns) {
    Matrix(role, form, tensor, {0, rows}, {0, columns});
  }

  void Bias(WeightRole role, const std::string& tensor, Range rows) {
    if (model_.bias) Add(role, WeightForm::kVector, {{tensor, rows, {0, 1}, 0}});
  }

  void Norm(WeightRole gamma, WeightRole beta, const std::string& prefix) {
    if (!model_.norm_affine) return;
    Whole(gamma, WeightForm::kVector, prefix + ".weight", model_.hidden, 1);
    Whole(beta, WeightForm::kVector, prefix + ".bias", model_.hidden, 1);
  }

  void Embedding(WeightRole role, const std::string& tensor) {
    Matrix(role, dense_, tensor, shard_.vocab, {0, model_.embed});
  }

  void Qkv(const std::string& prefix) {
    std::vector<WeightSource> weights, biases;
    int64_t row = 0;
    for (const char* part : {"q", "k", "v"}) {
      const std::string name = absl::StrCat(prefix, part, "_proj");
      weights.push_back({name + ".weight", HeadColumns(), {0, model_.hidden}, row});
      biases.push_back({name + ".bias", HeadColumns(), {0, 1}, row});
      row += HeadColumns().size();
    }
    Add(WeightRole::kQkv, dense_, std::move(weights));
    if (model_.bias) Add(WeightRole::kQkvBias, WeightForm::kVector, std::move(biases));
  }

  const ModelSpec& model_;
  const DType dtype_;
  const int64_t alignment_;
  const WeightForm dense_;
  const WeightForm fc2_;
  const TensorShard& shard_;
  int64_t layer_ = -1;
  WeightLayout layout_;
};

}  // namespace

WeightLayout WeightLayoutOf(const ModelSpec& model, const ShardPlan& plan, int rank) {
  const RankPlace place = PlaceOfRank(plan, rank);
  const StagePlan& stage = plan.stages[place.stage];
  const bool first = place.stage == 0;
  const bool last = place.stage == plan.pipeline() - 1;
  Builder builder(model, plan, stage.shards[place.tensor_index]);
  if (first) builder.FirstStage();
  for (int64_t layer = stage.layers.begin; layer < stage.layers.end; ++layer) builder.Layer(layer);
  if (last) builder.LastStage(/*also_first=*/first);
  return builder.Take();
}

}  // namespace pamir::spec
