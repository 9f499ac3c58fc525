#include "core/spec/shard_plan.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pamir::spec {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ModelSpec Model(const char* name = "125m") { return NamedModel(name).value(); }

ShardPlan Even(const ModelSpec& model, int tp, int pp) {
  absl::StatusOr<ShardPlan> plan = EvenShardPlan(model, tp, pp);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *plan : ShardPlan();
}

TEST(EvenShardPlan, EveryNamedModelSplitsAndPassesTheCheck) {
  for (const std::string& name : NamedModels()) {
    const ModelSpec model = Model(name.c_str());
    for (const int tp : {1, 2, 4}) {
      for (const int pp : {1, 2, 5}) {
        const ShardPlan plan = Even(model, tp, pp);
        EXPECT_EQ(plan.ranks(), tp * pp);
        EXPECT_EQ(plan.pipeline(), pp);
        EXPECT_TRUE(CheckShardPlan(model, plan).ok()) << CheckShardPlan(model, plan);
      }
    }
  }
}

TEST(EvenShardPlan, LayersNeedNotDivideEvenly) {
  const ShardPlan plan = Even(Model(), 1, 5);
  EXPECT_EQ(plan.stages[0].layers, (Range{0, 3}));
  EXPECT_EQ(plan.stages[4].layers, (Range{10, 12}));
}

TEST(EvenShardPlan, SaysWhichSizesFit) {
  EXPECT_THAT(std::string(EvenShardPlan(Model("30b"), 3, 1).status().message()),
              AllOf(HasSubstr("3 does not divide the 56 attention heads of opt-30b"),
                    HasSubstr("1, 2, 4, 7, 8, 14, 28, 56")));
  EXPECT_THAT(std::string(EvenShardPlan(Model(), 1, 13).status().message()),
              AllOf(HasSubstr("pipeline-parallel size 13"), HasSubstr("12 layers")));
  EXPECT_FALSE(EvenShardPlan(Model(), 0, 1).ok());
  EXPECT_FALSE(EvenShardPlan(Model(), -1, 1).ok());
  EXPECT_FALSE(EvenShardPlan(Model(), 1, 0).ok());
}

TEST(ShardPlan, RanksRunThroughTheStages) {
  ShardPlan plan = Even(Model(), 2, 3);
  plan.stages[1].shards.pop_back();  // stages may be of different widths
  EXPECT_EQ(plan.ranks(), 5);
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    const RankPlace place = PlaceOfRank(plan, rank);
    EXPECT_EQ(RankAt(plan, place.stage, place.tensor_index), rank);
  }
  EXPECT_EQ(PlaceOfRank(plan, 2).stage, 1);
  EXPECT_EQ(PlaceOfRank(plan, 3).stage, 2);
  EXPECT_EQ(PlaceOfRank(plan, 4).tensor_index, 1);
}

TEST(ShardPlanDeathTest, ARankOutsideThePlanEndsTheProcess) {
  const ShardPlan plan = Even(Model(), 2, 1);
  EXPECT_DEATH(PlaceOfRank(plan, 2), "rank 2 of a plan of 2");
  EXPECT_DEATH(PlaceOfRank(plan, -1), "rank -1");
}

TEST(CheckShardPlan, UnevenShardsAreFine) {
  ShardPlan plan = Even(Model(), 2, 1);
  plan.stages[0].shards[0] = {{0, 5}, {0, 3000}, {0, 1}};
  plan.stages[0].shards[1] = {{5, 12}, {3000, 3072}, {1, 50272}};
  EXPECT_TRUE(CheckShardPlan(Model(), plan).ok()) << CheckShardPlan(Model(), plan);
}

// What `breaks` does to a good plan of 2 x 2 must be refused with `words` in the message.
void ExpectRefused(const std::function<void(ShardPlan&)>& breaks, const std::string& words) {
  ShardPlan plan = Even(Model(), 2, 2);
  breaks(plan);
  const absl::Status status = CheckShardPlan(Model(), plan);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << words;
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

TEST(CheckShardPlan, EverythingIsHeldExactlyOnce) {
  ExpectRefused([](ShardPlan& p) { p.stages.clear(); }, "no stages");
  ExpectRefused([](ShardPlan& p) { p.stages[1].shards.clear(); }, "stage 1: it has no ranks");
  ExpectRefused([](ShardPlan& p) { p.stages[1].layers.begin = 5; }, "stage 1's layers are 5..12");
  ExpectRefused([](ShardPlan& p) { p.stages[1].layers.end = 11; }, "layers 11..12");
  ExpectRefused([](ShardPlan& p) { p.stages[1].layers.end = 13; }, "end at 12 at most");
  ExpectRefused([](ShardPlan& p) { p.stages[0].shards[1].heads.begin = 7; },
                "stage 0: tensor-parallel rank 1's heads are 7..12");
  ExpectRefused([](ShardPlan& p) { p.stages[0].shards[1].heads = {6, 6}; }, "not be empty");
  ExpectRefused([](ShardPlan& p) { p.stages[0].shards[1].ffn.end -= 1; },
                "stage 0: neurons 3071..3072");
  ExpectRefused([](ShardPlan& p) { p.stages[1].shards[0].vocab.begin = -1; }, "vocabulary rows");
}

TEST(CheckShardPlan, LimitsArePositiveAndAgree) {
  ExpectRefused([](ShardPlan& p) { p.limits.block_size = 0; }, "block_size is 0");
  ExpectRefused([](ShardPlan& p) { p.limits.num_blocks = 0; }, "num_blocks is 0");
  ExpectRefused([](ShardPlan& p) { p.limits.max_num_seqs = -1; }, "max_num_seqs is -1");
  ExpectRefused([](ShardPlan& p) { p.limits.max_num_batched_tokens = 0; },
                "max_num_batched_tokens is 0");
  ExpectRefused([](ShardPlan& p) { p.limits.max_model_len = 2049; },
                "max_model_len is 2049; it must be from 1 to 2048");
  ExpectRefused([](ShardPlan& p) { p.limits.text_vocab = 50273; }, "text_vocab is 50273");
  ExpectRefused([](ShardPlan& p) { p.limits.num_blocks = 127; },
                "needs 128 blocks of 16 tokens. Give the KV cache more memory, or lower "
                "max_model_len to 2032");
}

TEST(CheckShardPlan, OnCudaTheTypesBlocksAndHeadsAreTheKernels) {
  const auto cuda = [](ShardPlan& p) { SetDevice(DeviceKind::kCuda, DType::kFloat16, &p); };
  ShardPlan good = Even(Model(), 2, 2);
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
    SetDevice(DeviceKind::kCuda, dtype, &good);
    EXPECT_EQ(good.kv_dtype, dtype == DType::kFloat32 ? DType::kFloat32 : DType::kFloat16);
    EXPECT_TRUE(CheckShardPlan(Model(), good).ok()) << CheckShardPlan(Model(), good);
    SetDevice(DeviceKind::kCpu, dtype, &good);
    EXPECT_EQ(good.kv_dtype, DType::kFloat32);
  }
  ExpectRefused([&](ShardPlan& p) { cuda(p), p.kv_dtype = DType::kFloat32; },
                "weights in float16 go with a KV cache in float16, not in float32");
  SetDevice(DeviceKind::kCuda, DType::kBFloat16, &good);
  good.kv_fp8 = true;
  EXPECT_TRUE(CheckShardPlan(Model(), good).ok()) << CheckShardPlan(Model(), good);
  ExpectRefused([](ShardPlan& p) { p.kv_fp8 = true; }, "fp8 is for GPUs, not for CPUs");
  ExpectRefused(
      [](ShardPlan& p) {
        SetDevice(DeviceKind::kCuda, DType::kFloat32, &p);
        p.kv_fp8 = true;
      },
      "fp8 is for weights in float16 or bfloat16, not in float32");
  ExpectRefused([&](ShardPlan& p) { cuda(p), p.limits.block_size = 8, p.limits.num_blocks = 256; },
                "on a GPU, block_size is 8; it must be from 16 to 16");
  ExpectRefused(
      [&](ShardPlan& p) {
        cuda(p);
        p.stages[0].shards[0].ffn.end = p.stages[0].shards[1].ffn.begin = 1540;
      },
      "on a GPU, a rank's number of neurons is 1540; it must be a multiple of 8");
  ExpectRefused([&](ShardPlan& p) { cuda(p), p.limits.max_num_batched_tokens = 65536; },
                "on a GPU, max_num_batched_tokens is 65536; it must be from 1 to 65535");
  ExpectRefused(
      [&](ShardPlan& p) {
        SetDevice(DeviceKind::kCuda, DType::kFloat32, &p);
        p.relu_skip = ReluSkip::kFull;
      },
      "relu_skip full is for weights in float16 or bfloat16");
  ModelSpec wide = Model();
  wide.heads = 2;
  ShardPlan plan = Even(wide, 1, 1);
  cuda(plan);
  EXPECT_THAT(std::string(CheckShardPlan(wide, plan).message()),
              HasSubstr("the head dimension is 384; it must be from 1 to 256"));
}

TEST(BytesOfRank, CudaPadsHeadsOfHalvesOnly) {
  ModelSpec model = Model();
  model.hidden = 12 * 20;  // heads of 20
  ShardPlan plan = Even(model, 1, 1);
  EXPECT_EQ(KvBytesPerBlock(model, plan, 0), 12 * 2 * 16 * 12 * 20 * 4);
  SetDevice(DeviceKind::kCuda, DType::kFloat32, &plan);
  EXPECT_EQ(KvBytesPerBlock(model, plan, 0), 12 * 2 * 16 * 12 * 20 * 4);
  SetDevice(DeviceKind::kCuda, DType::kBFloat16, &plan);
  EXPECT_EQ(KvBytesPerBlock(model, plan, 0), 12 * 2 * 16 * 12 * 32 * 2);
  EXPECT_EQ(BytesOfRank(model, plan, 0).kv,
            (plan.limits.num_blocks + kCudaSpareBlocks) * KvBytesPerBlock(model, plan, 0));
  plan.kv_fp8 = true;
  EXPECT_EQ(KvBytesPerBlock(model, plan, 0), 12 * 2 * 16 * 12 * (32 + 2));
}

TEST(BytesOfRank, KvAgreesWithTheBytesAToken) {
  // Published sizes: 2 (K and V) x layers x hidden x 2 bytes a token, over all ranks.
  for (const auto& [name, bytes] :
       {std::pair{"125m", 36'864}, std::pair{"13b", 819'200}, std::pair{"175b", 4'718'592}}) {
    ShardPlan plan = Even(Model(name), 4, 3);
    plan.kv_dtype = DType::kFloat16;
    int64_t total = 0;
    for (int rank = 0; rank < plan.ranks(); ++rank) {
      total += KvBytesPerBlock(Model(name), plan, rank);
    }
    EXPECT_EQ(total, int64_t{bytes} * plan.limits.block_size) << name;
    EXPECT_EQ(BytesOfRank(Model(name), plan, 0).kv,
              plan.limits.num_blocks * KvBytesPerBlock(Model(name), plan, 0));
  }
}

TEST(BytesOfRank, WeightsWithin15PercentOfTheCheckpoint) {
  for (const std::string& name : NamedModels()) {
    const ModelSpec model = Model(name.c_str());
    const int64_t checkpoint = 2 * ParameterCount(model);
    const RankBytes bytes = BytesOfRank(model, Even(model, 1, 1), 0);
    EXPECT_GE(bytes.weights, checkpoint) << name;
    EXPECT_LT(bytes.weights, checkpoint * 1.01) << name;
    EXPECT_GT(bytes.buffers, 0);
    EXPECT_EQ(bytes.total(), bytes.weights + bytes.kv + bytes.buffers);
  }
}

}  // namespace
}  // namespace pamir::spec
