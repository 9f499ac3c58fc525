#include "bench/floor.h"

#include "gtest/gtest.h"

namespace pamir::bench {
namespace {

// One layer, small enough to count by hand.
spec::ModelSpec Small() {
  spec::ModelSpec model;
  model.name = "small";
  model.layers = 1;
  model.hidden = model.embed = 32;
  model.heads = 2;
  model.ffn = 64;
  model.vocab = 96;
  model.positions = 64;
  return model;
}

spec::ShardPlan PlanOf(const spec::ModelSpec& model, spec::DeviceKind device) {
  spec::ShardPlan plan = spec::EvenShardPlan(model, 1, 1).value();
  spec::SetDevice(device, DType::kFloat16, &plan);
  return plan;
}

TEST(Floor, Fc2ShareIsTheUnionOfTheRows) {
  EXPECT_NEAR(Fc2Share(0.05, 1, 1), 0.05, 1e-12);
  EXPECT_DOUBLE_EQ(Fc2Share(0.5, 2, 1), 0.75);
  EXPECT_DOUBLE_EQ(Fc2Share(0.5, 1, 2), 0.75);
  EXPECT_NEAR(Fc2Share(0.05, 4, 1), 0.1855, 1e-4);
  EXPECT_NEAR(Fc2Share(0.05, 1, 16), 0.5599, 1e-4);
  EXPECT_DOUBLE_EQ(Fc2Share(0.05, 4, 0), 1);
  EXPECT_DOUBLE_EQ(Fc2Share(1, 1, 1), 1);
}

TEST(Floor, WhatThePlanSkips) {
  spec::ModelSpec model = Small();
  spec::ShardPlan plan = PlanOf(model, spec::DeviceKind::kCuda);
  EXPECT_EQ(SkippedGroup(model, plan), 0);
  plan.relu_skip = spec::ReluSkip::kGroup;
  EXPECT_EQ(SkippedGroup(model, plan), 16);
  plan.relu_skip = spec::ReluSkip::kFull;
  EXPECT_EQ(SkippedGroup(model, plan), 1);
  EXPECT_EQ(SkippedGroup(model, PlanOf(model, spec::DeviceKind::kCpu)), 1);
  model.activation = spec::Activation::kGelu;
  EXPECT_EQ(SkippedGroup(model, plan), 0);
}

TEST(Floor, BytesOfADecodeStep) {
  const spec::ModelSpec model = Small();
  const spec::ShardPlan plan = PlanOf(model, spec::DeviceKind::kCuda);
  constexpr double kMatrices = 2 * (96 * 32 + 32 * 32 + 64 * 32 + 32 * 64);
  constexpr double kVectors = 4 * (96 + 32 + 64 + 32 + 4 * 32 + 2 * 32);  // biases, three norms
  constexpr double kHead = 2 * 96 * 32;
  constexpr double kKvOfAToken = 2 * 2 * 16 * 2;  // k and v, heads, their width, bytes
  EXPECT_DOUBLE_EQ(DecodeBytes(model, plan, 2, 10, 1),
                   kMatrices + kVectors + kHead + 2 * 10 * kKvOfAToken);
  EXPECT_DOUBLE_EQ(DecodeBytes(model, plan, 2, 10, 0.25),
                   DecodeBytes(model, plan, 2, 10, 1) - 0.75 * 2 * 32 * 64);
}

TEST(Floor, UntiedEmbeddingsAreLookedUpOnly) {
  spec::ModelSpec model = Small();
  const spec::ShardPlan plan = PlanOf(model, spec::DeviceKind::kCuda);
  const double tied = DecodeBytes(model, plan, 1, 1, 1);
  model.tied = false;
  EXPECT_DOUBLE_EQ(DecodeBytes(model, plan, 1, 1, 1), tied);
}

// The figures that the engine's aims were set by: at 3.116 TB/s, context 512.
TEST(Floor, Opt13b) {
  const spec::ModelSpec model = spec::NamedModel("opt-13b").value();
  const spec::ShardPlan plan = PlanOf(model, spec::DeviceKind::kCuda);
  constexpr double kBytesPerMs = 3.116e9;
  EXPECT_NEAR(DecodeBytes(model, plan, 1, 512, 1) / kBytesPerMs, 8.4, 0.05);
  EXPECT_NEAR(DecodeBytes(model, plan, 1, 512, 0.05) / kBytesPerMs, 5.85, 0.06);
  EXPECT_NEAR(DecodeBytes(model, plan, 64, 512, 1) / kBytesPerMs, 16.9, 0.1);
  EXPECT_NEAR(PrefillOperations(model, plan, 2048) / 764e12 * 1e3, 70, 1.5);
}

TEST(Floor, OperationsOfAPrefill) {
  const spec::ModelSpec model = Small();
  const spec::ShardPlan plan = PlanOf(model, spec::DeviceKind::kCuda);
  constexpr double kWeights = 96 * 32 + 32 * 32 + 64 * 32 + 32 * 64;
  // Four tokens: each weight twice a token, the head for the last, and ten pairs of positions.
  EXPECT_DOUBLE_EQ(PrefillOperations(model, plan, 4),
                   2 * 4 * kWeights + 2 * 96 * 32 + 10 * 2 * 2 * 32);
}

}  // namespace
}  // namespace pamir::bench
