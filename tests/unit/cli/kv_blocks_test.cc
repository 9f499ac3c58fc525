#include "cli/kv_blocks.h"

#include "base/units.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pamir::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

spec::ShardPlan CudaPlan(const spec::ModelSpec& model, int tp, int pp) {
  spec::ShardPlan plan = spec::EvenShardPlan(model, tp, pp).value();
  spec::SetDevice(spec::DeviceKind::kCuda, DType::kFloat16, &plan);
  return plan;
}

spec::ModelSpec Model(const std::string& size) { return spec::NamedModel(size).value(); }

TEST(CpuKvBlocks, AQuarterOfTheMemory) {
  const spec::ModelSpec model = Model("125m");
  spec::ShardPlan plan = spec::EvenShardPlan(model, 2, 1).value();
  const int64_t block = 2 * spec::KvBytesPerBlock(model, plan, 0);
  EXPECT_EQ(CpuKvBlocks(model, plan, 4 * 1000 * block), 1000);
  EXPECT_EQ(CpuKvBlocks(model, plan, 0), 128);                      // a sequence's
  EXPECT_EQ(CpuKvBlocks(model, plan, int64_t{1} << 40), 128 * 64);  // all sequences'
}

TEST(CudaKvBlocks, WhatTheFlagsLeaveByHand) {
  const spec::ModelSpec model = Model("13b");
  const spec::ShardPlan plan = CudaPlan(model, 1, 1);
  const spec::RankBytes bytes = spec::BytesOfRank(model, plan, 0);
  const int64_t block = int64_t{40} * 2 * 16 * 5120 * 2;
  for (const double share : {0.5, 0.9}) {
    const auto left =
        static_cast<int64_t>(share * 80.0 * kGiB) - bytes.weights - bytes.buffers - kGiB;
    const auto blocks = CudaKvBlocks(model, plan, {.memory = {80 * kGiB}, .utilization = share});
    ASSERT_TRUE(blocks.ok()) << blocks.status();
    EXPECT_EQ(*blocks, left / block - spec::kCudaSpareBlocks);
  }
}

TEST(CudaKvBlocks, NoMoreThanTheSequencesCanUse) {
  const spec::ModelSpec model = Model("125m");
  EXPECT_EQ(*CudaKvBlocks(model, CudaPlan(model, 1, 1), {.memory = {80 * kGiB}}), 64 * 128);
}

TEST(CudaKvBlocks, RanksShareTheGpusThatThereAre) {
  const spec::ModelSpec model = Model("13b");
  const spec::ShardPlan plan = CudaPlan(model, 4, 1);
  const auto of = [&](std::vector<int64_t> memory, bool shared_out) {
    return CudaKvBlocks(model, plan, {.memory = std::move(memory), .shared_out = shared_out})
        .value();
  };
  // Two ranks on one of 80 GiB have as much as one on its own of 40 GiB.
  EXPECT_EQ(of({80 * kGiB, 80 * kGiB}, true), of({40 * kGiB}, false));
  // Three GPUs for four ranks: one holds two.
  EXPECT_EQ(of({80 * kGiB, 80 * kGiB, 80 * kGiB}, true), of({40 * kGiB}, false));
  // The smallest counts, but not where no rank runs.
  EXPECT_EQ(of({40 * kGiB, 24 * kGiB, 40 * kGiB, 40 * kGiB}, true), of({24 * kGiB}, false));
  EXPECT_EQ(of({40 * kGiB, 40 * kGiB, 40 * kGiB, 40 * kGiB, kGiB}, true), of({40 * kGiB}, false));
}

std::string Refusal(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                    const GpuBudget& budget) {
  const auto blocks = CudaKvBlocks(model, plan, budget);
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
  return std::string(blocks.status().message());
}

TEST(CudaKvBlocks, SaysWhatIsMissingAndWhatWouldFit) {
  const spec::ModelSpec model = Model("66b");  // 131.7 GB in halves
  const std::vector<int64_t> four(4, 80 * kGiB);
  EXPECT_THAT(Refusal(model, CudaPlan(model, 1, 1), {.memory = four}),
              AllOf(HasSubstr("opt-66b in float16 on 1 rank does not fit"),
                    HasSubstr("may use 72.0 GiB of its GPU"), HasSubstr("122.4 GiB for weights"),
                    HasSubstr("4.5 GiB for the KV cache of one sequence of 2048 tokens"),
                    HasSubstr("GiB are missing; it would fit with --tp 2"),
                    Not(HasSubstr("--max-model-len"))));
  EXPECT_THAT(Refusal(Model("175b"), CudaPlan(Model("175b"), 1, 2), {.memory = four}),
              HasSubstr("it needs more or larger GPUs than this machine shows"));
  EXPECT_THAT(Refusal(Model("175b"), CudaPlan(Model("175b"), 2, 2),
                      {.memory = {80 * kGiB}, .shared_out = false}),
              HasSubstr("--tp 3 (with --pp 2)"));
}

TEST(CudaKvBlocks, AShorterContextMayFit) {
  const spec::ModelSpec model = Model("13b");
  spec::ShardPlan plan = CudaPlan(model, 1, 1);
  const spec::RankBytes bytes = spec::BytesOfRank(model, plan, 0);
  const int64_t room = (100 + spec::kCudaSpareBlocks) * spec::KvBytesPerBlock(model, plan, 0);
  const GpuBudget budget{.memory = {bytes.weights + bytes.buffers + kGiB + room}, .utilization = 1};
  EXPECT_THAT(Refusal(model, plan, budget), HasSubstr("it would fit with --max-model-len 1600"));
  // And it does: shorter rows need no more room.
  plan.limits.max_model_len = 1600;
  EXPECT_TRUE(CudaKvBlocks(model, plan, budget).ok());
}

}  // namespace
}  // namespace pamir::cli
