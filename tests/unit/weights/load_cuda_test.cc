#include <fstream>
#include <limits>

#include "absl/synchronization/mutex.h"
#include "engine/weights/cuda_weights.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/fake_cuda/fake_cuda.h"
#include "unit/weights/compare_rank.h"
#include "unit/weights/test_sources.h"

namespace pamir::weights {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr DType kDTypes[] = {DType::kFloat16, DType::kBFloat16, DType::kFloat32};

spec::ShardPlan CudaPlan(const spec::ModelSpec& model, int tp, int pp, DType dtype,
                         spec::ReluSkip skip = spec::ReluSkip::kOff) {
  spec::ShardPlan plan = spec::EvenShardPlan(model, tp, pp).value();
  spec::SetDevice(spec::DeviceKind::kCuda, dtype, &plan);
  plan.relu_skip = skip;
  return plan;
}

// A GPU whose work is done as late as it may be: a half of the staging that is filled again before
// it was copied would show.
class LoadCuda : public ::testing::Test {
 protected:
  absl::StatusOr<CudaWeights> Load(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                   int rank, const TensorSource& source, int threads = 2) {
    return LoadCudaWeights(model, plan, rank, source, threads, nullptr, *device_);
  }

  void CompareRank(const spec::ModelSpec& model, const spec::ShardPlan& plan, int rank,
                   const TensorSource& source) {
    SCOPED_TRACE(model.name + " in " + Name(plan.weight_dtype) + ", skip " +
                 spec::Name(plan.relu_skip) + ", rank " + std::to_string(rank) + " of " +
                 std::to_string(plan.ranks()));
    const auto weights = Load(model, plan, rank, source);
    ASSERT_TRUE(weights.ok()) << weights.status();
    CompareWeights(model, plan, rank, source, *weights);
    // Nothing else is left.
    EXPECT_EQ(fake_.pinned_bytes(), 0);
    EXPECT_EQ(fake_.device_bytes(), weights->bytes);
  }

  testing::FakeCuda fake_{{.queued = true}};
  const std::unique_ptr<device::CudaDevice> device_ =
      device::CudaDevice::OpenWith(fake_.api(), 0).value();
};

TEST_F(LoadCuda, EveryElementOfEveryVariantIsInItsPlace) {
  for (const char* variant : kOddVariants) {
    const spec::ModelSpec model = OddModel(variant);
    const auto source = MakeDummySource(model, {.seed = 5});
    for (const auto& [tp, pp] : {std::pair{1, 1}, {2, 1}, {3, 1}, {2, 2}}) {
      for (const spec::ReluSkip skip : {spec::ReluSkip::kOff, spec::ReluSkip::kFull}) {
        const spec::ShardPlan plan = CudaPlan(model, tp, pp, DType::kFloat16, skip);
        for (int rank = 0; rank < plan.ranks(); ++rank) CompareRank(model, plan, rank, *source);
      }
    }
  }
}

TEST_F(LoadCuda, ConvertsBetweenDTypes) {
  const spec::ModelSpec model = OddModel();
  for (const DType stored : kDTypes) {
    for (const DType kept : kDTypes) {
      const spec::ShardPlan plan = CudaPlan(model, 2, 1, kept, spec::ReluSkip::kGroup);
      CompareRank(model, plan, 1, SpoiltSource(model, stored));
    }
  }
}

TEST_F(LoadCuda, TheModelsThatShip) {
  for (const char* name :
       {"configs/models/fable-2m", "configs/models/fable-14m", "tests/golden/models/tiny-350m-like",
        "tests/golden/models/tiny-galactica-like"}) {
    const std::string path = std::string(PAMIR_SOURCE_DIR) + "/" + name;
    std::ifstream in(path + "/config.json");
    const std::string json{std::istreambuf_iterator<char>(in), {}};
    const spec::ModelSpec model = spec::ParseModelConfig(json, name).value();
    const auto source = OpenCheckpoint(path);
    ASSERT_TRUE(source.ok()) << source.status();
    const bool large = model.heads == 6;  // the one that three ranks can share
    for (const auto& [tp, pp] : {std::pair{1, 1}, {2, 1}, {3, 1}, {1, 2}}) {
      if (large != (tp == 3)) continue;
      for (const DType dtype : {DType::kFloat16, DType::kFloat32}) {
        const spec::ShardPlan plan = CudaPlan(model, tp, pp, dtype, spec::ReluSkip::kGroup);
        for (int rank = 0; rank < plan.ranks(); ++rank) CompareRank(model, plan, rank, **source);
      }
    }
  }
}

// Chunks of several pieces on several threads: halves are used again and again.
TEST_F(LoadCuda, ManyChunksOnAnyNumberOfThreads) {
  spec::ModelSpec model = OddModel();
  model.vocab = 60'001;
  model.ffn = 50'000;
  const auto source = MakeDummySource(model, {});
  const spec::ShardPlan plan = CudaPlan(model, 1, 1, DType::kFloat16, spec::ReluSkip::kFull);
  const spec::WeightLayout layout = spec::WeightLayoutOf(model, plan, 0);
  size_t slices = 0;
  for (const spec::WeightPiece& piece : layout.pieces) slices += piece.sources.size();
  std::string first;
  for (const int threads : {1, 3, 0, 1000}) {
    fake_.ResetCounts();
    const auto weights = Load(model, plan, 0, *source, threads);
    ASSERT_TRUE(weights.ok()) << weights.status();
    // The table, fc1 and fc2 are more than a chunk each.
    EXPECT_GE(fake_.counts().copies_to_device, static_cast<int64_t>(slices) + 7);
    // Gaps between the pieces hold what the memory held before.
    std::string bytes;
    for (const spec::WeightPiece& piece : layout.pieces) {
      const char* base = static_cast<const char*>(weights->embedding.data);  // the first piece
      bytes.append(base + piece.offset, static_cast<size_t>(piece.bytes));
    }
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << threads;
  }
}

TEST_F(LoadCuda, ReportsProgressUpToTheEnd) {
  const spec::ModelSpec model = OddModel();
  absl::Mutex mutex;
  std::vector<LoadProgress> reports;
  const auto collect = [&](LoadProgress p) {
    absl::MutexLock lock(&mutex);
    reports.push_back(p);
  };
  ASSERT_TRUE(LoadCudaWeights(model, CudaPlan(model, 1, 1, DType::kFloat16), 0,
                              *MakeDummySource(model, {}), 3, collect, *device_)
                  .ok());
  ASSERT_FALSE(reports.empty());
  EXPECT_EQ(reports.back().bytes_done, reports.back().bytes_total);
  EXPECT_EQ(reports.back().bytes_total, 2 * spec::ParameterCount(model));
}

TEST_F(LoadCuda, AnErrorNamesTheTensorAndLeavesNothingBehind) {
  const spec::ModelSpec model = OddModel();
  const spec::ShardPlan plan = CudaPlan(model, 2, 1, DType::kFloat16, spec::ReluSkip::kFull);
  SpoiltSource source(model, DType::kFloat32);
  source.valued = "model.decoder.layers.1.fc2.weight";
  source.row = 3;
  source.column = 240;  // rank 1 holds columns 125 on
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), 1e6f}) {
    source.value = value;
    for (const int threads : {1, 4}) {
      const absl::Status status = Load(model, plan, 1, source, threads).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()),
                  AllOf(HasSubstr(source.valued), HasSubstr("[3, 240]")));
      EXPECT_EQ(fake_.device_bytes(), 0);
      EXPECT_EQ(fake_.pinned_bytes(), 0);
    }
  }
}

TEST_F(LoadCuda, WeightsThatDoNotFit) {
  const spec::ModelSpec model = OddModel();
  const spec::ShardPlan plan = CudaPlan(model, 1, 1, DType::kFloat16);
  fake_.SetMemory(spec::BytesOfRank(model, plan, 0).weights - 1);
  const absl::Status status = Load(model, plan, 0, *MakeDummySource(model, {})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the weights need"));
  EXPECT_EQ(fake_.device_bytes(), 0);
}

// The weights fit, but not what loading needs beside them.
TEST_F(LoadCuda, ScratchThatDoesNotFit) {
  const spec::ModelSpec model = OddModel();
  const spec::ShardPlan plan = CudaPlan(model, 1, 1, DType::kFloat16, spec::ReluSkip::kFull);
  fake_.SetMemory(spec::BytesOfRank(model, plan, 0).weights + 1024);
  const absl::Status status = Load(model, plan, 0, *MakeDummySource(model, {}), 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(fake_.device_bytes(), 0);
  EXPECT_EQ(fake_.pinned_bytes(), 0);
}

TEST_F(LoadCuda, ADeviceThatIsLost) {
  const spec::ModelSpec model = OddModel();
  const spec::ShardPlan plan = CudaPlan(model, 1, 1, DType::kFloat16, spec::ReluSkip::kFull);
  fake_.FailLaunch(2, 700, /*late=*/true);  // of the transposes
  EXPECT_FALSE(Load(model, plan, 0, *MakeDummySource(model, {}), 2).ok());
  EXPECT_EQ(fake_.device_bytes(), 0);
  EXPECT_EQ(fake_.pinned_bytes(), 0);
}

TEST_F(LoadCuda, RefusesAPlanForCpusAndARankThatIsNotThere) {
  const spec::ModelSpec model = OddModel();
  const auto source = MakeDummySource(model, {});
  const spec::ShardPlan on_cpu = spec::EvenShardPlan(model, 1, 1).value();
  EXPECT_THAT(std::string(Load(model, on_cpu, 0, *source).status().message()),
              HasSubstr("the plan is for cpu"));
  const spec::ShardPlan plan = CudaPlan(model, 1, 1, DType::kFloat16);
  EXPECT_EQ(Load(model, plan, 1, *source).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pamir::weights
