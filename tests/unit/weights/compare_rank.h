// Compares what a rank holds with the tensors of the source, element by element.
#ifndef PAMIR_TESTS_UNIT_WEIGHTS_COMPARE_RANK_H_
#define PAMIR_TESTS_UNIT_WEIGHTS_COMPARE_RANK_H_

#include <map>
#include <string>
#include <vector>

#include "core/spec/weight_layout.h"
#include "engine/weights/rank_weights.h"
#include "gtest/gtest.h"
#include "kernels/product/product_cuda.h"

namespace pamir::weights {

// What differs between a CPU's matrices and a GPU's (in memory that the test can read).
inline float ElementOf(const kernels::Matrix& m, DType dtype, int64_t o, int64_t k) {
  EXPECT_EQ(m.dtype, dtype);
  return kernels::WeightAt(m, o, k);
}
inline float ElementOf(const kernels::cuda::GpuMatrix& m, DType dtype, int64_t o, int64_t k) {
  const bool by_outputs = m.order == kernels::cuda::WeightOrder::kOutputs;
  return LoadAsFloat(dtype, m.data, by_outputs ? o * m.in + k : k * m.out + o);
}
inline bool ByNeurons(const kernels::Matrix& m) {
  return m.layout == kernels::WeightLayout::kNeurons;
}
inline bool ByNeurons(const kernels::cuda::GpuMatrix& m) {
  return m.order == kernels::cuda::WeightOrder::kNeurons;
}

class Comparer {
 public:
  Comparer(const TensorSource& source, const spec::ShardPlan& plan)
      : source_(source),
        dtype_(plan.weight_dtype),
        alignment_(spec::WeightAlignment(plan.device)),
        product_bias_(plan.device == spec::DeviceKind::kCuda ? plan.weight_dtype
                                                             : DType::kFloat32) {}

  template <typename View>
  void Matrix(const View& m, int64_t first_row, const std::string& tensor, Range rows,
              Range columns) {
    ASSERT_NE(m.data, nullptr) << tensor;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(m.data) % alignment_, 0u) << tensor;
    EXPECT_EQ(m.in, columns.size()) << tensor;
    ASSERT_GE(m.out, first_row + rows.size()) << tensor;
    for (int64_t o = 0; o < rows.size(); ++o) {
      for (int64_t k = 0; k < m.in; ++k) {
        ASSERT_EQ(ElementOf(m, dtype_, first_row + o, k),
                  Expected(tensor, rows.begin + o, columns.begin + k, dtype_))
            << tensor << " " << o << " " << k;
      }
    }
  }

  void Vector(const float* v, const std::string& tensor, Range rows) {
    VectorOf(DType::kFloat32, v, tensor, rows);
  }
  // A bias that a product adds: on a GPU of the weights' type, though it is kept in fp32.
  void ProductBias(const float* v, const std::string& tensor, Range rows) {
    VectorOf(product_bias_, v, tensor, rows);
  }

  void VectorOf(DType type, const float* v, const std::string& tensor, Range rows) {
    ASSERT_NE(v, nullptr) << tensor;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(v) % 4, 0u);
    for (int64_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(v[i], Expected(tensor, rows.begin + i, 0, type)) << tensor << " " << i;
    }
  }

  // Element of the source's tensor once it is `to`.
  float Expected(const std::string& tensor, int64_t row, int64_t column, DType to) {
    Whole& whole = tensors_[tensor];
    if (whole.bytes.empty()) Fetch(tensor, whole);
    char converted[4];
    StoreFromFloat(to, converted, 0,
                   LoadAsFloat(whole.dtype, whole.bytes.data(), row * whole.width + column));
    return LoadAsFloat(to, converted, 0);
  }

 private:
  struct Whole {
    DType dtype = DType::kFloat16;
    int64_t width = 1;
    std::vector<char> bytes;
  };
  void Fetch(const std::string& tensor, Whole& whole) {
    const TensorInfo info = source_.Find(tensor).value();
    whole.dtype = info.dtype;
    whole.width = info.shape.size() == 1 ? 1 : info.shape[1];
    whole.bytes.resize(static_cast<size_t>(info.shape[0] * whole.width) * SizeOf(info.dtype));
    ASSERT_TRUE(
        source_.Read(tensor, {0, info.shape[0]}, {0, whole.width}, whole.bytes.data()).ok());
  }

  const TensorSource& source_;
  const DType dtype_;
  const int64_t alignment_;
  const DType product_bias_;
  std::map<std::string, Whole> tensors_;
};

template <typename Matrix>
void CompareLayer(Comparer& compare, const spec::ModelSpec& model, const spec::TensorShard& shard,
                  int64_t index, const LayerWeightsOf<Matrix>& layer) {
  const std::string name = "model.decoder.layers." + std::to_string(index);
  const Range hidden{0, model.hidden};
  const Range attention{shard.heads.begin * model.head_dim(), shard.heads.end * model.head_dim()};
  int64_t first = 0;
  for (const char* part : {"q", "k", "v"}) {
    const std::string projection = name + ".self_attn." + part + "_proj";
    compare.Matrix(layer.qkv, first, projection + ".weight", attention, hidden);
    if (model.bias) compare.ProductBias(layer.qkv_bias + first, projection + ".bias", attention);
    first += attention.size();
  }
  EXPECT_EQ(layer.qkv.out, first);
  compare.Matrix(layer.out, 0, name + ".self_attn.out_proj.weight", hidden, attention);
  compare.Matrix(layer.fc1, 0, name + ".fc1.weight", shard.ffn, hidden);
  compare.Matrix(layer.fc2, 0, name + ".fc2.weight", hidden, shard.ffn);
  EXPECT_FALSE(ByNeurons(layer.qkv) || ByNeurons(layer.out) || ByNeurons(layer.fc1));
  if (model.bias) {
    compare.Vector(layer.out_bias, name + ".self_attn.out_proj.bias", hidden);
    compare.ProductBias(layer.fc1_bias, name + ".fc1.bias", shard.ffn);
    compare.Vector(layer.fc2_bias, name + ".fc2.bias", hidden);
  } else {
    EXPECT_TRUE(!layer.qkv_bias && !layer.out_bias && !layer.fc1_bias && !layer.fc2_bias);
  }
  if (model.norm_affine) {
    compare.Vector(layer.attention_norm.gamma, name + ".self_attn_layer_norm.weight", hidden);
    compare.Vector(layer.attention_norm.beta, name + ".self_attn_layer_norm.bias", hidden);
    compare.Vector(layer.ffn_norm.gamma, name + ".final_layer_norm.weight", hidden);
    compare.Vector(layer.ffn_norm.beta, name + ".final_layer_norm.bias", hidden);
  } else {
    EXPECT_TRUE(!layer.attention_norm.gamma && !layer.ffn_norm.beta);
  }
}

template <typename Matrix>
void CompareEnds(Comparer& compare, const spec::ModelSpec& model, const spec::ShardPlan& plan,
                 spec::RankPlace place, const RankWeightsOf<Matrix>& w) {
  const spec::TensorShard& shard = plan.stages[place.stage].shards[place.tensor_index];
  const bool first = place.stage == 0, last = place.stage + 1 == plan.pipeline();
  const std::string decoder = "model.decoder.";
  const Range hidden{0, model.hidden}, embed{0, model.embed};
  EXPECT_EQ(w.embedding.data != nullptr, first);
  EXPECT_EQ(w.positions != nullptr, first);
  EXPECT_EQ(w.lm_head.data != nullptr, last);
  EXPECT_EQ(w.project_in.data != nullptr, first && model.projected());
  EXPECT_EQ(w.project_out.data != nullptr, last && model.projected());
  EXPECT_EQ(w.final_norm.gamma != nullptr, last && model.final_norm && model.norm_affine);
  if (first) {
    compare.Matrix(w.embedding, 0, decoder + "embed_tokens.weight", shard.vocab, embed);
    EXPECT_EQ(w.positions_dtype, plan.weight_dtype);
    for (int64_t i = 0; i < (model.positions + 2) * model.hidden; ++i) {
      ASSERT_EQ(LoadAsFloat(w.positions_dtype, w.positions, i),
                compare.Expected(decoder + "embed_positions.weight", i / model.hidden,
                                 i % model.hidden, plan.weight_dtype));
    }
  }
  if (w.project_in.data)
    compare.Matrix(w.project_in, 0, decoder + "project_in.weight", hidden, embed);
  if (w.project_out.data)
    compare.Matrix(w.project_out, 0, decoder + "project_out.weight", embed, hidden);
  if (w.final_norm.gamma) {
    compare.Vector(w.final_norm.gamma, decoder + "final_layer_norm.weight", hidden);
    compare.Vector(w.final_norm.beta, decoder + "final_layer_norm.bias", hidden);
  }
  if (last) {
    compare.Matrix(w.lm_head, 0, model.tied ? decoder + "embed_tokens.weight" : "lm_head.weight",
                   shard.vocab, embed);
    EXPECT_EQ(w.lm_head.data == w.embedding.data, first && model.tied);
  }
}

// All that the rank holds; a trace names it.
template <typename Matrix>
void CompareWeights(const spec::ModelSpec& model, const spec::ShardPlan& plan, int rank,
                    const TensorSource& source, const RankWeightsOf<Matrix>& w) {
  EXPECT_EQ(w.bytes, spec::BytesOfRank(model, plan, rank).weights);
  Comparer compare(source, plan);
  const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
  const spec::StagePlan& stage = plan.stages[place.stage];
  ASSERT_EQ(w.layers.size(), static_cast<size_t>(stage.layers.size()));
  const bool relu = model.activation == spec::Activation::kRelu;
  const bool skips =
      plan.device == spec::DeviceKind::kCpu || plan.relu_skip != spec::ReluSkip::kOff;
  for (int64_t i = 0; i < stage.layers.size(); ++i) {
    CompareLayer(compare, model, stage.shards[place.tensor_index], stage.layers.begin + i,
                 w.layers[i]);
    EXPECT_EQ(ByNeurons(w.layers[i].fc2), relu && skips);
  }
  CompareEnds(compare, model, plan, place, w);
}

}  // namespace pamir::weights

#endif  // PAMIR_TESTS_UNIT_WEIGHTS_COMPARE_RANK_H_
