#include "bench/engine_bench.h"

#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "support/fake_cuda/fake_cuda.h"
#include "support/golden.h"

namespace pamir::bench {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

EngineBenchOptions Quick() {
  EngineBenchOptions options;
  options.model_directory = testing::LoadGolden("fable-2m").directory;
  std::ifstream file(options.model_directory + "/config.json");
  const std::string config(std::istreambuf_iterator<char>(file), {});
  options.model = spec::ParseModelConfig(config, "fable-2m").value();
  options.batches = {1, 3};
  options.context = 20;
  options.prefill = 40;
  options.steps = 3;
  options.threads = 2;
  return options;
}

void ExpectRows(const Json& json) {
  const Json& rows = json["rows"];
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["work"], "decode");
  EXPECT_EQ(rows[0]["batch"], 1);
  EXPECT_EQ(rows[1]["batch"], 3);
  EXPECT_EQ(rows[1]["context"], 20);
  EXPECT_EQ(rows[2]["work"], "prefill");
  EXPECT_EQ(rows[2]["context"], 40);
  for (const Json& row : rows) {
    EXPECT_GT(row["ms"], 0) << row;
    EXPECT_GT(row["alone_ms"], 0) << row;
    EXPECT_GT(row["tokens_per_s"], 0) << row;
  }
  EXPECT_GT(rows[1]["floor_ms"], rows[0]["floor_ms"]);
  EXPECT_GT(rows[2]["tflops"], 0);
  EXPECT_GT(json["read_gb_per_s"], 0);
  EXPECT_GT(json["weight_bytes"], 0);
  EXPECT_GT(json["kv_bytes"], 0);
}

TEST(BenchEngine, ACheckpointOnACpu) {
  const auto report = BenchEngine(Quick(), {});
  ASSERT_TRUE(report.ok()) << report.status();
  const Json json = Json::parse(JsonOf(*report));
  ExpectRows(json);
  EXPECT_EQ(json["device"], "cpu");
  EXPECT_EQ(json["dummy_weights"], false);
  EXPECT_FALSE(json["rows"][2].contains("floor_ms"));  // no other product to hold it against
  EXPECT_THAT(TextOf(*report), HasSubstr("a checkpoint's weights"));
}

TEST(BenchEngine, AnyNumberOfThreads) {
  EngineBenchOptions options = Quick();
  options.threads = 3;  // which do not divide the buffer of the read loop
  const auto report = BenchEngine(options, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->threads, 3);
}

TEST(BenchEngine, DummyWeightsOnAGpu) {
  testing::FakeCuda fake({.memory_bytes = int64_t{512} << 20, .queued = true});
  EngineBenchOptions options = Quick();
  options.model_directory.clear();
  options.dummy_relu_density = 0.25;
  options.relu_skip = spec::ReluSkip::kFull;
  options.kv_fp8 = true;
  BenchDevice device{.gpu = device::CudaDevice::OpenWith(fake.api(), 0).value(), .name = "fake"};
  const auto report = BenchEngine(options, std::move(device));
  ASSERT_TRUE(report.ok()) << report.status();
  const Json json = Json::parse(JsonOf(*report));
  ExpectRows(json);
  EXPECT_EQ(json["dummy_relu_density"], 0.25);
  EXPECT_EQ(json["relu_skip"], "full");
  EXPECT_EQ(json["kv_cache_dtype"], "fp8");
  EXPECT_EQ(json["greedy"], false);
  EXPECT_GT(json["product_tflops"], 0);
  EXPECT_GT(json["rows"][2]["floor_ms"], 0);
  EXPECT_GT(json["graphs"], 0);
  EXPECT_GT(fake.kernels_of("read_bandwidth"), 0);
  EXPECT_THAT(TextOf(*report), HasSubstr("dummy weights, 25.0 % of the neurons active"));
}

TEST(BenchEngine, AGpuThatIsTooSmallSaysSo) {
  testing::FakeCuda fake({.memory_bytes = int64_t{64} << 20});
  EngineBenchOptions options = Quick();
  options.batches = {64};
  options.model = spec::NamedModel("opt-125m").value();
  options.model_directory.clear();
  BenchDevice device{.gpu = device::CudaDevice::OpenWith(fake.api(), 0).value(), .name = "fake"};
  const auto report = BenchEngine(options, std::move(device));
  EXPECT_EQ(report.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(BenchPlan, HoldsTheLargestBatchAndNoMore) {
  EngineBenchOptions options = Quick();
  options.batches = {4, 1};
  const spec::EngineLimits limits = BenchPlan(options, spec::DeviceKind::kCpu)->limits;
  EXPECT_EQ(limits.max_num_seqs, 4);
  EXPECT_EQ(limits.max_model_len, 40);
  EXPECT_EQ(limits.max_num_batched_tokens, 40);
  EXPECT_EQ(limits.num_blocks, 4 * 2);  // 14 + 5 + 3 positions each
  options.batches = {1};
  EXPECT_EQ(BenchPlan(options, spec::DeviceKind::kCpu)->limits.num_blocks, 3);  // the prefill's
}

TEST(BenchPlan, WhatTheModelHasNoPositionsFor) {
  EngineBenchOptions options = Quick();
  options.context = static_cast<int32_t>(options.model.positions) - 1;
  EXPECT_THAT(std::string(BenchPlan(options, spec::DeviceKind::kCpu).status().message()),
              HasSubstr("above the model's context"));
  options.context = static_cast<int32_t>(options.model.positions) - 2;
  EXPECT_TRUE(BenchPlan(options, spec::DeviceKind::kCpu).ok());
  options.prefill = static_cast<int32_t>(options.model.positions) + 1;
  EXPECT_THAT(std::string(BenchPlan(options, spec::DeviceKind::kCpu).status().message()),
              HasSubstr("--prefill"));
}

}  // namespace
}  // namespace pamir::bench
