#include "engine/weights/place_weights.h"

#include "kernels/product/product_cuda.h"

namespace pamir::weights {
namespace {

using spec::WeightForm;
using spec::WeightPiece;
using spec::WeightRole;

static_assert(spec::kOutputPadding == kernels::kPanelOutputs,
              "the layout counts the padding that the kernels want");

template <typename Matrix>
void PlaceInLayer(const WeightPiece& piece, DType dtype, const char* base,
                  LayerWeightsOf<Matrix>& layer) {
  const auto vector = reinterpret_cast<const float*>(base + piece.offset);
  switch (piece.role) {
    case WeightRole::kAttentionGamma:
      layer.attention_norm.gamma = vector;
      break;
    case WeightRole::kAttentionBeta:
      layer.attention_norm.beta = vector;
      break;
    case WeightRole::kQkv:
      layer.qkv = MatrixOf<Matrix>(piece, dtype, base);
      break;
    case WeightRole::kQkvBias:
      layer.qkv_bias = vector;
      break;
    case WeightRole::kOut:
      layer.out = MatrixOf<Matrix>(piece, dtype, base);
      break;
    case WeightRole::kOutBias:
      layer.out_bias = vector;
      break;
    case WeightRole::kFfnGamma:
      layer.ffn_norm.gamma = vector;
      break;
    case WeightRole::kFfnBeta:
      layer.ffn_norm.beta = vector;
      break;
    case WeightRole::kFc1:
      layer.fc1 = MatrixOf<Matrix>(piece, dtype, base);
      break;
    case WeightRole::kFc1Bias:
      layer.fc1_bias = vector;
      break;
    case WeightRole::kFc2:
      layer.fc2 = MatrixOf<Matrix>(piece, dtype, base);
      break;
    case WeightRole::kFc2Bias:
      layer.fc2_bias = vector;
      break;
    default:
      break;
  }
}

template <typename Matrix>
void PlaceOutsideLayers(const WeightPiece& piece, DType dtype, const char* base,
                        RankWeightsOf<Matrix>& w) {
  const char* at = base + piece.offset;
  switch (piece.role) {
    case WeightRole::kEmbedding:
      w.embedding = MatrixOf<Matrix>(piece, dtype, base);
      break;
    case WeightRole::kPositions:
      w.positions = at;
      w.positions_dtype = dtype;
      break;
    case WeightRole::kProjectIn:
      w.project_in = MatrixOf<Matrix>(piece, dtype, base);
      break;
    case WeightRole::kProjectOut:
      w.project_out = MatrixOf<Matrix>(piece, dtype, base);
      break;
    case WeightRole::kFinalGamma:
      w.final_norm.gamma = reinterpret_cast<const float*>(at);
      break;
    case WeightRole::kFinalBeta:
      w.final_norm.beta = reinterpret_cast<const float*>(at);
      break;
    case WeightRole::kLmHead:
      w.lm_head = MatrixOf<Matrix>(piece, dtype, base);
      break;
    default:
      break;
  }
}

}  // namespace

template <>
kernels::Matrix MatrixOf(const WeightPiece& piece, DType dtype, const char* base) {
  return {.data = base + piece.offset,
          .dtype = dtype,
          .layout = piece.form == WeightForm::kNeurons ? kernels::WeightLayout::kNeurons
                                                       : kernels::WeightLayout::kPanels,
          .out = piece.rows,
          .in = piece.columns};
}

template <>
kernels::cuda::GpuMatrix MatrixOf(const WeightPiece& piece, DType, const char* base) {
  kernels::cuda::GpuMatrix matrix;
  matrix.data = base + piece.offset;
  matrix.out = piece.rows;
  matrix.in = piece.columns;
  matrix.order = piece.form == WeightForm::kColumns ? kernels::cuda::WeightOrder::kNeurons
                                                    : kernels::cuda::WeightOrder::kOutputs;
  return matrix;
}

template <typename Matrix>
RankWeightsOf<Matrix> PlaceWeights(const spec::ModelSpec& model, const spec::WeightLayout& layout,
                                   Range layers, DType dtype, const char* base) {
  RankWeightsOf<Matrix> weights;
  weights.layers.resize(static_cast<size_t>(layers.size()));
  weights.bytes = layout.bytes;
  for (const WeightPiece& piece : layout.pieces) {
    if (piece.layer >= 0) {
      PlaceInLayer(piece, dtype, base, weights.layers[piece.layer - layers.begin]);
    } else {
      PlaceOutsideLayers(piece, dtype, base, weights);
    }
  }
  // On a single stage the tied head is the table itself.
  const bool is_last = layers.end == model.layers;
  if (model.tied && is_last && weights.lm_head.data == nullptr) weights.lm_head = weights.embedding;
  return weights;
}

template RankWeights PlaceWeights(const spec::ModelSpec&, const spec::WeightLayout&, Range, DType,
                                  const char*);
template RankWeightsOf<kernels::cuda::GpuMatrix> PlaceWeights(const spec::ModelSpec&,
                                                              const spec::WeightLayout&, Range,
                                                              DType, const char*);

}  // namespace pamir::weights
