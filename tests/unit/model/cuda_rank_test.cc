// The GPU's rank on a GPU made of host memory: the same answers as the reference, with everything
// around the kernels as it is on a device (packing, graphs, streams, copies, what is kept where).
#include "engine/model/cuda_rank.h"

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/model/cuda_buffers.h"
#include "gtest/gtest.h"
#include "support/fake_cuda/fake_cuda.h"
#include "support/golden.h"
#include "unit/model/generate.h"
#include "unit/model/thread_ranks.h"

namespace pamir::testing {
namespace {

std::vector<std::vector<int32_t>> PromptsOf(const GoldenModel& golden) {
  std::vector<std::vector<int32_t>> prompts;
  for (const GoldenCase& c : golden.cases) prompts.push_back(c.prompt_ids);
  return prompts;
}

// A plan that admits slot 0 with these ids and samples behind them.
flow::StepPlan FirstStep(const std::vector<int32_t>& ids) {
  const int32_t count = static_cast<int32_t>(ids.size());
  flow::StepPlan plan{.step = StepId(1)};
  plan.admissions.push_back({.slot = SlotId(0),
                             .ids = ids,
                             .prompt_length = count,
                             .sampling = {.temperature = 0},
                             .blocks = {BlockId(0), BlockId(1), BlockId(2), BlockId(3)}});
  plan.rows.push_back({.slot = SlotId(0), .count = count, .kind = flow::RowKind::kPrompt});
  return plan;
}
flow::StepPlan DecodeStep(uint64_t step, int32_t from) {
  flow::StepPlan plan{.step = StepId(step)};
  plan.rows.push_back({.slot = SlotId(0), .from = from});
  return plan;
}

using Layout = std::tuple<std::string, int, int>;  // model, tp, pp

class CudaGoldenTest : public ::testing::TestWithParam<Layout> {};

TEST_P(CudaGoldenTest, Float32GreedyTokensAndLogprobs) {
  const auto [name, tp, pp] = GetParam();
  const GoldenModel golden = LoadGolden(name);
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  FakeCuda fake({.queued = true});
  ThreadRanks ranks(model, SmallCudaPlan(model, tp, pp, DType::kFloat32), *source, fake.api());
  size_t tokens = 0;
  for (const GoldenCase& c : golden.cases) tokens = std::max(tokens, c.greedy_ids.size());
  const auto generated = Generate(&ranks, PromptsOf(golden), 40, tokens, {.temperature = 0});
  for (size_t i = 0; i < golden.cases.size(); ++i) {
    const GoldenCase& c = golden.cases[i];
    for (size_t t = 0; t < c.greedy_ids.size(); ++t) {
      ASSERT_EQ(generated[i].ids[t], c.greedy_ids[t]) << "prompt " << i << ", token " << t;
      EXPECT_NEAR(generated[i].logprobs[t], c.greedy_logprobs[t], 1e-3)
          << "prompt " << i << ", token " << t;
    }
  }
  const GoldenCase& c = golden.cases[1];
  ASSERT_GT(c.prompt_ids.size(), 1u);
  const std::vector<float> scores = Score(&ranks, c.prompt_ids);
  ASSERT_EQ(scores.size(), c.prompt_logprobs.size());
  for (size_t i = 0; i < scores.size(); ++i) EXPECT_NEAR(scores[i], c.prompt_logprobs[i], 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Layouts, CudaGoldenTest,
                         ::testing::Values(Layout{"fable-2m", 1, 1}, Layout{"fable-2m", 2, 1},
                                           Layout{"fable-2m", 1, 2}, Layout{"fable-2m", 2, 2},
                                           Layout{"tiny-350m-like", 1, 1},
                                           Layout{"tiny-350m-like", 2, 2},
                                           Layout{"tiny-galactica-like", 1, 1},
                                           Layout{"tiny-galactica-like", 2, 3}),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param) + "_tp" +
                                              std::to_string(std::get<1>(info.param)) + "_pp" +
                                              std::to_string(std::get<2>(info.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// fp16: fed the reference's ids, log-probabilities within 0.02.
TEST(CudaRank, HalfPrecisionScoresAreNearTheReference) {
  const GoldenModel golden = LoadGolden("fable-2m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
    FakeCuda fake;
    ThreadRanks ranks(model, SmallCudaPlan(model, 1, 1, type), *source, fake.api());
    for (const GoldenCase& c : golden.cases) {
      if (c.prompt_ids.size() < 2) continue;
      const std::vector<float> scores = Score(&ranks, c.prompt_ids);
      for (size_t i = 0; i < scores.size(); ++i) {
        EXPECT_NEAR(scores[i], c.prompt_logprobs[i], type == DType::kFloat16 ? 0.02 : 0.15);
      }
    }
  }
}

// A KV cache in fp8 keeps each number within 2^-4 of itself and a little. What that makes of
// log-probabilities was 0.22 at most when it was measured.
TEST(CudaRank, ScoresWithAnFp8CacheAreNearTheReference) {
  const GoldenModel golden = LoadGolden("fable-2m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
    FakeCuda fake;
    spec::ShardPlan plan = SmallCudaPlan(model, 1, 1, type);
    plan.kv_fp8 = true;
    ThreadRanks ranks(model, plan, *source, fake.api());
    double furthest = 0;
    for (const GoldenCase& c : golden.cases) {
      if (c.prompt_ids.size() < 2) continue;
      const std::vector<float> scores = Score(&ranks, c.prompt_ids);
      for (size_t i = 0; i < scores.size(); ++i) {
        furthest = std::max<double>(furthest, std::abs(scores[i] - c.prompt_logprobs[i]));
      }
    }
    EXPECT_LT(furthest, 0.5) << Name(type);
    EXPECT_GT(furthest, 0.02) << "as near as with a cache in fp16: is it one in fp8?";
  }
}

// What a rank allocates for fp8 is what its plan foretells, about half.
TEST(CudaRank, AnFp8CacheTakesHalfTheMemory) {
  const GoldenModel golden = LoadGolden("fable-2m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  spec::ShardPlan plan = SmallCudaPlan(model, 2, 1, DType::kFloat16);
  FakeCuda fake;
  const auto device = device::CudaDevice::OpenWith(fake.api(), 0).value();
  const int64_t halves = model::AllocateCudaKv(*device, model, plan, 1)->bytes;
  plan.kv_fp8 = true;
  const int64_t fp8 = model::AllocateCudaKv(*device, model, plan, 1)->bytes;
  EXPECT_EQ(fp8, spec::BytesOfRank(model, plan, 1).kv);
  const auto dim = static_cast<double>(model.head_dim());
  EXPECT_DOUBLE_EQ(static_cast<double>(fp8) / static_cast<double>(halves), (dim + 2) / (2 * dim));
}

TEST(CudaRank, BitsDoNotDependOnBatchChunkGraphsOrSkip) {
  const GoldenModel golden = LoadGolden("fable-2m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  const SamplingParams sampling{.temperature = 0.9f, .top_k = 40, .top_p = 0.95f, .seed = 7};
  const std::pair<spec::ReluSkip, bool> kinds[] = {{spec::ReluSkip::kOff, false},
                                                   {spec::ReluSkip::kGroup, false},
                                                   {spec::ReluSkip::kFull, false},
                                                   {spec::ReluSkip::kOff, true}};
  for (const auto& [skip, kv_fp8] : kinds) {
    SCOPED_TRACE(absl::StrCat("skip ", spec::Name(skip), kv_fp8 ? ", fp8" : ""));
    FakeCuda fake;
    spec::ShardPlan plan = SmallCudaPlan(model, 1, 1, DType::kFloat16);
    plan.relu_skip = skip;
    plan.kv_fp8 = kv_fp8;
    ThreadRanks ranks(model, plan, *source, fake.api());
    ThreadRanks launched(model, plan, *source, fake.api(), /*graphs=*/false);
    const auto together = Generate(&ranks, PromptsOf(golden), 256, 24, sampling);
    const auto chunked = Generate(&launched, PromptsOf(golden), 3, 24, sampling);
    for (size_t i = 0; i < golden.cases.size(); ++i) {
      const auto alone = Generate(&ranks, {golden.cases[i].prompt_ids}, 256, 24, sampling);
      EXPECT_EQ(together[i].ids, alone[0].ids);
      EXPECT_EQ(together[i].logprobs, alone[0].logprobs);
      EXPECT_EQ(together[i].ids, chunked[i].ids);
      EXPECT_EQ(together[i].logprobs, chunked[i].logprobs);
    }
  }
}

TEST(CudaRank, OneCopyEachWayAndOneGraphADecodeStep) {
  const GoldenModel golden = LoadGolden("fable-2m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  FakeCuda fake;
  ThreadRanks ranks(model, SmallCudaPlan(model, 1, 1, DType::kFloat16), *source, fake.api());
  const auto& ids = golden.cases[0].prompt_ids;
  fake.Freeze(true);
  fake.ResetCounts();
  ASSERT_EQ(ranks.Step(FirstStep(ids)).sampled.size(), 1u);
  EXPECT_EQ(fake.counts().copies_to_device, 1);
  EXPECT_EQ(fake.counts().copies_to_host, 1);
  EXPECT_EQ(fake.counts().graph_launches, 0);
  fake.ResetCounts();
  ASSERT_EQ(ranks.Step(DecodeStep(2, static_cast<int32_t>(ids.size()))).sampled.size(), 1u);
  EXPECT_EQ(fake.counts().copies_to_device, 1);
  EXPECT_EQ(fake.counts().copies_to_host, 1);
  EXPECT_EQ(fake.counts().graph_launches, 1);
  EXPECT_EQ(fake.counts().launches, 0);
  fake.Freeze(false);
}

// The next step is begun before the last has come back; its token never leaves the device first.
TEST(CudaRank, StepsRunAhead) {
  const GoldenModel golden = LoadGolden("fable-2m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  FakeCuda fake({.queued = true});
  ThreadRanks ranks(model, SmallCudaPlan(model, 1, 1, DType::kFloat32), *source, fake.api());
  const GoldenCase& c = golden.cases[0];
  const int32_t length = static_cast<int32_t>(c.prompt_ids.size());
  flow::Rank* rank = ranks.rank(0);
  ASSERT_EQ(rank->steps_ahead(), 1);
  ASSERT_TRUE(rank->Begin(FirstStep(c.prompt_ids)).ok());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(rank->Begin(DecodeStep(2 + i, length + i)).ok());
    const auto result = rank->Finish();
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->step.value, static_cast<uint64_t>(1 + i));
    EXPECT_EQ(result->sampled[0].token, c.greedy_ids[i]);
  }
  ASSERT_TRUE(rank->Finish().ok());
}

TEST(CudaRank, AnErrorOfTheDeviceEndsTheRank) {
  const GoldenModel golden = LoadGolden("fable-2m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  for (const bool late : {false, true}) {
    FakeCuda fake;
    ThreadRanks ranks(model, SmallCudaPlan(model, 1, 1, DType::kFloat16), *source, fake.api());
    fake.FailLaunch(5, 700, late);
    const auto result = ranks.rank(0)->Step(FirstStep(golden.cases[0].prompt_ids));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal) << result.status();
    EXPECT_EQ(ranks.rank(0)->Step(DecodeStep(2, 5)).status(), result.status());
  }
}

TEST(CudaRank, TooLittleMemoryIsSaidBeforeLoading) {
  const GoldenModel golden = LoadGolden("fable-2m");
  const spec::ModelSpec model = ReadSpec(golden.directory);
  const spec::ShardPlan plan = SmallCudaPlan(model, 1, 1, DType::kFloat16);
  FakeCuda fake({.memory_bytes = 4 << 20});
  const auto device = device::CudaDevice::OpenWith(fake.api(), 0).value();
  const absl::Status status = model::CheckCudaMemory(*device, model, plan, 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  for (const char* word : {"weights", "KV cache", "buffers", "free"}) {
    EXPECT_NE(std::string(status.message()).find(word), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace pamir::testing
