#include <cstring>
#include <limits>
#include <map>

#include "absl/synchronization/mutex.h"
#include "engine/weights/inspect.h"
#include "engine/weights/rank_weights.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/weights/test_files.h"
#include "unit/weights/test_sources.h"

namespace pamir::weights {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

RankWeights Load(const spec::ModelSpec& model, const spec::ShardPlan& plan, int rank,
                 const TensorSource& source, int threads = 2) {
  absl::StatusOr<RankWeights> loaded = LoadRankWeights(model, plan, rank, source, threads, nullptr);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? *loaded : RankWeights();
}

std::string BytesOf(const RankWeights& weights, const void* base) {
  return std::string(static_cast<const char*>(base), static_cast<size_t>(weights.bytes));
}

// The lowest address of a rank's allocation: whatever the layout puts first.
const void* BaseOf(const RankWeights& w) {
  const void* base = w.embedding.data;
  const auto lower = [&](const void* p) {
    if (p != nullptr && (base == nullptr || p < base)) base = p;
  };
  lower(w.layers.front().attention_norm.gamma);
  lower(w.layers.front().qkv.data);
  return base;
}

// Compares what a rank holds with the tensors of the source, element by element.
class Comparer {
 public:
  Comparer(const TensorSource& source, DType dtype) : source_(source), dtype_(dtype) {}

  void Matrix(const kernels::Matrix& m, int64_t first_row, const std::string& tensor, Range rows,
              Range columns) {
    ASSERT_NE(m.data, nullptr) << tensor;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(m.data) % 64, 0u) << tensor;
    EXPECT_EQ(m.dtype, dtype_);
    EXPECT_EQ(m.in, columns.size()) << tensor;
    ASSERT_GE(m.out, first_row + rows.size()) << tensor;
    for (int64_t o = 0; o < rows.size(); ++o) {
      for (int64_t k = 0; k < m.in; ++k) {
        ASSERT_EQ(kernels::WeightAt(m, first_row + o, k),
                  Expected(tensor, rows.begin + o, columns.begin + k, dtype_))
            << tensor << " " << o << " " << k;
      }
    }
  }

  void Vector(const float* v, const std::string& tensor, Range rows) {
    ASSERT_NE(v, nullptr) << tensor;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(v) % 4, 0u);
    for (int64_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(v[i], Expected(tensor, rows.begin + i, 0, DType::kFloat32)) << tensor << " " << i;
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
  std::map<std::string, Whole> tensors_;
};

void CompareLayer(Comparer& compare, const spec::ModelSpec& model, const spec::TensorShard& shard,
                  int64_t index, const LayerWeights& layer) {
  const std::string name = "model.decoder.layers." + std::to_string(index);
  const Range hidden{0, model.hidden};
  const Range attention{shard.heads.begin * model.head_dim(), shard.heads.end * model.head_dim()};
  int64_t first = 0;
  for (const char* part : {"q", "k", "v"}) {
    const std::string projection = name + ".self_attn." + part + "_proj";
    compare.Matrix(layer.qkv, first, projection + ".weight", attention, hidden);
    if (model.bias) compare.Vector(layer.qkv_bias + first, projection + ".bias", attention);
    first += attention.size();
  }
  EXPECT_EQ(layer.qkv.out, first);
  compare.Matrix(layer.out, 0, name + ".self_attn.out_proj.weight", hidden, attention);
  compare.Matrix(layer.fc1, 0, name + ".fc1.weight", shard.ffn, hidden);
  compare.Matrix(layer.fc2, 0, name + ".fc2.weight", hidden, shard.ffn);
  EXPECT_EQ(layer.fc2.layout == kernels::WeightLayout::kNeurons,
            model.activation == spec::Activation::kRelu);
  if (model.bias) {
    compare.Vector(layer.out_bias, name + ".self_attn.out_proj.bias", hidden);
    compare.Vector(layer.fc1_bias, name + ".fc1.bias", shard.ffn);
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

void CompareEnds(Comparer& compare, const spec::ModelSpec& model, const spec::ShardPlan& plan,
                 spec::RankPlace place, const RankWeights& w) {
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

void CompareRank(const spec::ModelSpec& model, const spec::ShardPlan& plan, int rank,
                 const TensorSource& source) {
  SCOPED_TRACE(model.name + " rank " + std::to_string(rank) + " of " +
               std::to_string(plan.ranks()));
  const RankWeights w = Load(model, plan, rank, source);
  EXPECT_EQ(w.bytes, spec::BytesOfRank(model, plan, rank).weights);
  Comparer compare(source, plan.weight_dtype);
  const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
  const spec::StagePlan& stage = plan.stages[place.stage];
  ASSERT_EQ(w.layers.size(), static_cast<size_t>(stage.layers.size()));
  for (int64_t i = 0; i < stage.layers.size(); ++i) {
    CompareLayer(compare, model, stage.shards[place.tensor_index], stage.layers.begin + i,
                 w.layers[i]);
  }
  CompareEnds(compare, model, plan, place, w);
}

TEST(LoadRankWeights, EveryElementOfEveryVariantIsInItsPlace) {
  for (const char* variant : kOddVariants) {
    const spec::ModelSpec model = OddModel(variant);
    const auto source = MakeDummySource(model, {.seed = 5});
    for (const auto& [tp, pp] : {std::pair{1, 1}, {3, 1}, {2, 2}, {1, 3}}) {
      const spec::ShardPlan plan = spec::EvenShardPlan(model, tp, pp).value();
      for (int rank = 0; rank < plan.ranks(); ++rank) CompareRank(model, plan, rank, *source);
    }
  }
}

TEST(LoadRankWeights, UnevenShards) {
  const spec::ModelSpec model = OddModel();
  spec::ShardPlan plan = spec::EvenShardPlan(model, 2, 2).value();
  plan.stages[0].layers = {0, 1};
  plan.stages[1].layers = {1, 3};
  plan.stages[1].shards[0] = {{0, 1}, {0, 7}, {0, 300}};
  plan.stages[1].shards[1] = {{1, 6}, {7, 250}, {300, 301}};
  ASSERT_TRUE(spec::CheckShardPlan(model, plan).ok());
  const auto source = MakeDummySource(model, {});
  for (int rank = 0; rank < plan.ranks(); ++rank) CompareRank(model, plan, rank, *source);
}

TEST(LoadRankWeights, ConvertsBetweenDTypes) {
  const spec::ModelSpec model = OddModel();
  for (const DType stored : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
    for (const DType kept : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
      spec::ShardPlan plan = spec::EvenShardPlan(model, 2, 1).value();
      plan.weight_dtype = kept;
      SCOPED_TRACE(std::string(Name(stored)) + " to " + Name(kept));
      CompareRank(model, plan, 1, SpoiltSource(model, stored));
    }
  }
}

TEST(LoadRankWeights, BytesDoNotDependOnThreadsOrRun) {
  // Large enough for several chunks a matrix.
  spec::ModelSpec model = OddModel();
  model.vocab = 60'001;
  const auto source = MakeDummySource(model, {});
  const spec::ShardPlan plan = spec::EvenShardPlan(model, 1, 1).value();
  const RankWeights one = Load(model, plan, 0, *source, 1);
  for (const int threads : {2, 5, -1, 1000}) {
    const RankWeights other = Load(model, plan, 0, *source, threads);
    EXPECT_EQ(std::memcmp(BaseOf(one), BaseOf(other), one.bytes), 0) << threads;
  }
}

TEST(LoadRankWeights, SyntheticFilesAndDummySourceGiveTheSameBytes) {
  for (const char* variant : kOddVariants) {
    const spec::ModelSpec model = OddModel(variant);
    const DummyOptions options{.seed = 11, .relu_density = 0.1};
    TempDirectory directory;
    const std::string path = directory / "model";
    // Small shards, so that there is an index.
    ASSERT_TRUE(WriteSynthetic(model, options, path, nullptr, 50'000).ok());
    auto files = OpenCheckpoint(path);
    ASSERT_TRUE(files.ok()) << files.status();
    const auto dummy = MakeDummySource(model, options);
    for (const auto& [tp, pp] : {std::pair{1, 1}, {2, 1}, {3, 2}, {1, 3}, {6, 1}}) {
      const spec::ShardPlan plan = spec::EvenShardPlan(model, tp, pp).value();
      for (int rank = 0; rank < plan.ranks(); ++rank) {
        const RankWeights a = Load(model, plan, rank, **files);
        const RankWeights b = Load(model, plan, rank, *dummy);
        ASSERT_EQ(BytesOf(a, BaseOf(a)), BytesOf(b, BaseOf(b)))
            << model.name << " " << tp << " x " << pp << " rank " << rank;
      }
    }
  }
}

TEST(LoadRankWeights, LoadsTheModelsThatShip) {
  for (const char* directory : {"configs/models/fable-14m", "tests/golden/models/tiny-350m-like",
                                "tests/golden/models/tiny-galactica-like"}) {
    const std::string path = std::string(PAMIR_SOURCE_DIR) + "/" + directory;
    std::ifstream in(path + "/config.json");
    const std::string json{std::istreambuf_iterator<char>(in), {}};
    const spec::ModelSpec model = spec::ParseModelConfig(json, directory).value();
    const auto source = OpenCheckpoint(path);
    ASSERT_TRUE(source.ok()) << source.status();
    const spec::ShardPlan plan = spec::EvenShardPlan(model, 2, 1).value();
    CompareRank(model, plan, 1, **source);
    const int64_t checkpoint = 2 * spec::ParameterCount(model);
    const spec::ShardPlan whole = spec::EvenShardPlan(model, 1, 1).value();
    EXPECT_LT(Load(model, whole, 0, **source).bytes, checkpoint * 1.15);
  }
}

TEST(LoadRankWeights, ReportsProgressUpToTheEnd) {
  const spec::ModelSpec model = OddModel();
  const spec::ShardPlan plan = spec::EvenShardPlan(model, 1, 1).value();
  absl::Mutex mutex;
  std::vector<LoadProgress> reports;
  ASSERT_TRUE(LoadRankWeights(model, plan, 0, *MakeDummySource(model, {}), 3, [&](LoadProgress p) {
                absl::MutexLock lock(&mutex);
                reports.push_back(p);
              }).ok());
  ASSERT_FALSE(reports.empty());
  int finished = 0;
  for (size_t i = 0; i < reports.size(); ++i) {
    EXPECT_EQ(reports[i].bytes_total, 2 * spec::ParameterCount(model));
    if (i > 0) {
      EXPECT_GE(reports[i].bytes_done, reports[i - 1].bytes_done);
    }
    finished += reports[i].bytes_done == reports[i].bytes_total;
  }
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(reports.back().bytes_done, reports.back().bytes_total);
}

class SpoiltLoad : public testing::Test {
 protected:
  // The error, which must be the same on any number of threads.
  absl::Status ErrorOf(DType kept = DType::kFloat16) {
    spec::ShardPlan plan = spec::EvenShardPlan(model_, 2, 1).value();
    plan.weight_dtype = kept;
    const absl::Status one = LoadRankWeights(model_, plan, 1, source_, 1, nullptr).status();
    EXPECT_FALSE(one.ok());
    EXPECT_EQ(LoadRankWeights(model_, plan, 1, source_, 4, nullptr).status(), one);
    return one;
  }
  const spec::ModelSpec model_ = OddModel();
  SpoiltSource source_{model_, DType::kFloat32};
};

TEST_F(SpoiltLoad, AMissingTensor) {
  source_.missing = "model.decoder.layers.1.fc1.bias";
  const absl::Status status = ErrorOf();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr(source_.missing));
}

TEST_F(SpoiltLoad, AnotherShape) {
  source_.reshaped = "model.decoder.layers.2.fc2.weight";
  EXPECT_THAT(std::string(ErrorOf().message()),
              AllOf(HasSubstr(source_.reshaped), HasSubstr("is [60, 251]"),
                    HasSubstr("must be [60, 250]")));
}

TEST_F(SpoiltLoad, ARead) {
  source_.unreadable = "model.decoder.layers.2.self_attn.k_proj.weight";
  EXPECT_EQ(ErrorOf().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SpoiltLoad, NanAndInfinity) {
  source_.valued = "model.decoder.layers.1.self_attn.v_proj.weight";
  source_.row = 59;
  source_.column = 17;
  source_.value = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(std::string(ErrorOf().message()),
              AllOf(HasSubstr(source_.valued), HasSubstr("[59, 17]: NaN")));
  source_.value = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(std::string(ErrorOf(DType::kFloat32).message()), HasSubstr("[59, 17]: an infinity"));
}

TEST_F(SpoiltLoad, AColumnOfAColumnSlice) {
  source_.valued = "model.decoder.layers.0.fc2.weight";  // rank 1 holds columns 125 on
  source_.row = 3;
  source_.column = 240;
  source_.value = 1e6f;
  EXPECT_THAT(std::string(ErrorOf().message()),
              AllOf(HasSubstr("[3, 240]: 1e+06 is too large for float16")));
}

TEST(LoadRankWeights, RefusesARankThatIsNotThere) {
  const spec::ModelSpec model = OddModel();
  const spec::ShardPlan plan = spec::EvenShardPlan(model, 2, 1).value();
  const auto source = MakeDummySource(model, {});
  for (const int rank : {-1, 2}) {
    EXPECT_EQ(LoadRankWeights(model, plan, rank, *source, 1, nullptr).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace pamir::weights
