#include "core/spec/weight_layout.h"

#include <map>
#include <set>

#include "gtest/gtest.h"

namespace pamir::spec {
namespace {

ModelSpec Small(const std::string& variant) {
  ModelSpec spec;
  spec.name = variant;
  spec.layers = 5;
  spec.hidden = 60;  // no multiple of the padding
  spec.heads = 6;
  spec.ffn = 250;
  spec.vocab = 101;
  spec.positions = 40;
  spec.embed = 60;
  if (variant == "projected") spec.embed = 20;
  if (variant == "untied") spec.tied = false;
  if (variant == "bare") spec.bias = spec.norm_affine = false;
  if (variant == "gelu") spec.activation = Activation::kGelu;
  if (variant == "post-norm") spec.pre_norm = spec.final_norm = false;
  return spec;
}

const char* const kVariants[] = {"plain", "projected", "untied", "bare", "gelu", "post-norm"};

TEST(WeightLayout, PiecesAreAlignedAndDoNotOverlap) {
  for (const char* variant : kVariants) {
    const ModelSpec model = Small(variant);
    const ShardPlan plan = EvenShardPlan(model, 3, 2).value();
    for (int rank = 0; rank < plan.ranks(); ++rank) {
      const WeightLayout layout = WeightLayoutOf(model, plan, rank);
      int64_t end = 0;
      for (const WeightPiece& piece : layout.pieces) {
        EXPECT_EQ(piece.offset % kWeightAlignment, 0);
        EXPECT_GE(piece.offset, end);
        EXPECT_GT(piece.bytes, 0);
        end = piece.offset + piece.bytes;
        int64_t row = 0;
        for (const WeightSource& source : piece.sources) {
          EXPECT_EQ(source.to_row, row);
          EXPECT_EQ(source.columns.size(), piece.columns);
          row += source.rows.size();
        }
        EXPECT_EQ(row, piece.rows);
      }
      EXPECT_GE(layout.bytes, end);
      EXPECT_LT(layout.bytes, end + kWeightAlignment);
    }
  }
}

// Sums, for each tensor, the elements that all ranks read of it. Slices must lie within the tensor.
std::map<std::string, int64_t> ElementsRead(const ModelSpec& model, const ShardPlan& plan) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const TensorSpec& t : CheckpointTensors(model)) shapes[t.name] = t.shape;
  std::map<std::string, int64_t> read;
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    for (const WeightPiece& piece : WeightLayoutOf(model, plan, rank).pieces) {
      for (const WeightSource& source : piece.sources) {
        EXPECT_EQ(shapes.count(source.tensor), 1u) << source.tensor;
        const std::vector<int64_t>& shape = shapes[source.tensor];
        EXPECT_LE(source.rows.end, shape[0]);
        EXPECT_LE(source.columns.end, shape.size() == 1 ? 1 : shape[1]);
        read[source.tensor] += source.rows.size() * source.columns.size();
      }
    }
  }
  return read;
}

TEST(WeightLayout, EveryTensorIsReadAsOftenAsItIsHeld) {
  constexpr int kTp = 3;
  for (const char* variant : kVariants) {
    const ModelSpec model = Small(variant);
    const ShardPlan plan = EvenShardPlan(model, kTp, 2).value();
    std::map<std::string, int64_t> read = ElementsRead(model, plan);
    for (const TensorSpec& tensor : CheckpointTensors(model)) {
      const std::string& name = tensor.name;
      const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
      int copies = 1;
      if (has("norm") || has("embed_positions") || has("project_") || has("out_proj.bias") ||
          has("fc2.bias")) {
        copies = kTp;
      } else if (has("embed_tokens") && model.tied) {
        copies = 2;  // the first stage's table, the last stage's head
      }
      EXPECT_EQ(read[name], copies * tensor.elements()) << variant << " " << name;
    }
  }
}

TEST(WeightLayout, OneCopyOfATiedEmbeddingWhereTheStagesAreOne) {
  const auto roles = [](const ModelSpec& model, int pp, int rank) {
    std::set<WeightRole> found;
    for (const WeightPiece& piece :
         WeightLayoutOf(model, EvenShardPlan(model, 1, pp).value(), rank).pieces) {
      found.insert(piece.role);
    }
    return found;
  };
  EXPECT_EQ(roles(Small("plain"), 1, 0).count(WeightRole::kLmHead), 0u);
  EXPECT_EQ(roles(Small("untied"), 1, 0).count(WeightRole::kLmHead), 1u);
  EXPECT_EQ(roles(Small("plain"), 2, 0).count(WeightRole::kLmHead), 0u);
  EXPECT_EQ(roles(Small("plain"), 2, 1).count(WeightRole::kLmHead), 1u);
  EXPECT_EQ(roles(Small("plain"), 2, 1).count(WeightRole::kEmbedding), 0u);
  EXPECT_EQ(roles(Small("plain"), 3, 1).count(WeightRole::kPositions), 0u);
}

TEST(WeightLayout, CountsPaddingByHand) {
  ModelSpec model = Small("bare");
  model.layers = 1;
  const ShardPlan plan = EvenShardPlan(model, 1, 1).value();
  // In halves: embedding [101 -> 112, 60], positions 42 x 60, qkv [180 -> 192, 60],
  // out [60 -> 64, 60], fc1 [250 -> 256, 60], fc2 [60 -> 64, 250]; each rounded up to 64 bytes.
  EXPECT_EQ(WeightLayoutOf(model, plan, 0).bytes,
            13440 + RoundUp(5040, 64) + 23040 + 7680 + 30720 + 32000);
}

TEST(WeightLayout, ReluModelsKeepFc2ByNeurons) {
  for (const char* variant : {"plain", "gelu"}) {
    const ModelSpec model = Small(variant);
    const ShardPlan plan = EvenShardPlan(model, 1, 1).value();
    for (const WeightPiece& piece : WeightLayoutOf(model, plan, 0).pieces) {
      if (piece.role != WeightRole::kFc2) continue;
      EXPECT_EQ(piece.form,
                model.activation == Activation::kRelu ? WeightForm::kNeurons : WeightForm::kPanels);
    }
  }
}

ShardPlan OnCuda(const ModelSpec& model, int tp, int pp, ReluSkip skip = ReluSkip::kOff) {
  ShardPlan plan = EvenShardPlan(model, tp, pp).value();
  SetDevice(DeviceKind::kCuda, DType::kFloat16, &plan);
  plan.relu_skip = skip;
  return plan;
}

TEST(WeightLayoutOnCuda, HasThePiecesOfTheCpuInPlainForms) {
  for (const char* variant : kVariants) {
    const ModelSpec model = Small(variant);
    const ShardPlan on_cpu = EvenShardPlan(model, 3, 2).value();
    const ShardPlan on_cuda = OnCuda(model, 3, 2);
    for (int rank = 0; rank < on_cpu.ranks(); ++rank) {
      const WeightLayout cpu = WeightLayoutOf(model, on_cpu, rank);
      const WeightLayout cuda = WeightLayoutOf(model, on_cuda, rank);
      ASSERT_EQ(cpu.pieces.size(), cuda.pieces.size());
      int64_t end = 0;
      for (size_t i = 0; i < cuda.pieces.size(); ++i) {
        const WeightPiece &a = cpu.pieces[i], &b = cuda.pieces[i];
        EXPECT_EQ(a.role, b.role);
        EXPECT_EQ(a.rows, b.rows);
        EXPECT_EQ(a.columns, b.columns);
        const bool is_matrix = a.form == WeightForm::kPanels || a.form == WeightForm::kNeurons;
        EXPECT_EQ(b.form, is_matrix ? WeightForm::kRows : a.form);
        EXPECT_EQ(b.bytes, b.rows * b.columns * (b.form == WeightForm::kVector ? 4 : 2));
        EXPECT_EQ(b.offset, RoundUp(end, kCudaWeightAlignment));
        end = b.offset + b.bytes;
      }
      EXPECT_EQ(cuda.bytes, RoundUp(end, kCudaWeightAlignment));
    }
  }
}

TEST(WeightLayoutOnCuda, Fc2OfReluModelsIsTransposedWhereNeuronsAreSkipped) {
  for (const char* variant : {"plain", "gelu"}) {
    const ModelSpec model = Small(variant);
    for (const ReluSkip skip : {ReluSkip::kOff, ReluSkip::kGroup, ReluSkip::kFull}) {
      const bool skips = skip != ReluSkip::kOff && model.activation == Activation::kRelu;
      for (const WeightPiece& piece : WeightLayoutOf(model, OnCuda(model, 1, 1, skip), 0).pieces) {
        const bool is_matrix =
            piece.form != WeightForm::kVector && piece.role != WeightRole::kPositions;
        if (!is_matrix) continue;
        const bool is_fc2 = piece.role == WeightRole::kFc2;
        EXPECT_EQ(piece.form, skips && is_fc2 ? WeightForm::kColumns : WeightForm::kRows);
      }
    }
  }
}

}  // namespace
}  // namespace pamir::spec
