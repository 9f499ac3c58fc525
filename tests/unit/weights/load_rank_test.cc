#include <cstring>
#include <limits>

#include "absl/synchronization/mutex.h"
#include "engine/weights/inspect.h"
#include "engine/weights/rank_weights.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/weights/compare_rank.h"
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

void CompareRank(const spec::ModelSpec& model, const spec::ShardPlan& plan, int rank,
                 const TensorSource& source) {
  SCOPED_TRACE(model.name + " rank " + std::to_string(rank) + " of " +
               std::to_string(plan.ranks()));
  CompareWeights(model, plan, rank, source, Load(model, plan, rank, source));
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

TEST(LoadRankWeights, RefusesAPlanForGpus) {
  const spec::ModelSpec model = OddModel();
  spec::ShardPlan plan = spec::EvenShardPlan(model, 1, 1).value();
  spec::SetDevice(spec::DeviceKind::kCuda, DType::kFloat16, &plan);
  const absl::Status status =
      LoadRankWeights(model, plan, 0, *MakeDummySource(model, {}), 1, nullptr).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("the plan is for cuda"));
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
