#include "cli/engine_setup.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/cli/test_gpus.h"

namespace pamir::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

EngineFlags Dummy(const std::string& model = "opt-125m") {
  EngineFlags flags;
  flags.model = model;
  flags.load_format = "dummy";
  return flags;
}

ClusterDevice Cuda(int gpus, bool local, int64_t gib = 80) {
  return {.kind = spec::DeviceKind::kCuda, .gpus = SomeGpus(gpus, gib), .local = local};
}

TEST(SetUpEngine, OnACpuTheCacheIsFloat32) {
  const auto setup = SetUpEngine(Dummy(), ClusterDevice());
  ASSERT_TRUE(setup.ok()) << setup.status();
  EXPECT_EQ(setup->load.plan.device, spec::DeviceKind::kCpu);
  EXPECT_EQ(setup->load.plan.kv_dtype, DType::kFloat32);
}

TEST(SetUpEngine, OnAGpuTheCacheGoesWithTheWeights) {
  EngineFlags flags = Dummy();
  for (const auto& [dtype, kv] : {std::pair{"auto", DType::kFloat16},
                                  {"bfloat16", DType::kFloat16},
                                  {"float32", DType::kFloat32}}) {
    flags.dtype = dtype;
    const auto setup = SetUpEngine(flags, Cuda(1, true));
    ASSERT_TRUE(setup.ok()) << setup.status();
    EXPECT_EQ(setup->load.plan.device, spec::DeviceKind::kCuda);
    EXPECT_EQ(setup->load.plan.kv_dtype, kv) << dtype;
    EXPECT_EQ(setup->load.plan.limits.num_blocks, 64 * 128);
  }
}

TEST(SetUpEngine, KvCacheInFp8) {
  EngineFlags flags = Dummy();
  flags.kv_cache_dtype = "fp8";
  for (const char* dtype : {"auto", "bfloat16"}) {
    flags.dtype = dtype;
    const auto setup = SetUpEngine(flags, Cuda(1, true));
    ASSERT_TRUE(setup.ok()) << setup.status();
    EXPECT_TRUE(setup->load.plan.kv_fp8);
    EXPECT_EQ(setup->load.plan.kv_dtype, DType::kFloat16);
  }
  flags.kv_cache_dtype = "float16";
  EXPECT_FALSE(SetUpEngine(flags, Cuda(1, true))->load.plan.kv_fp8);
}

TEST(SetUpEngine, KvCacheTypesThatTheRanksDoNotHave) {
  for (const char* kv_cache_dtype : {"fp8", "float16"}) {
    EngineFlags flags = Dummy();
    flags.kv_cache_dtype = kv_cache_dtype;
    EXPECT_THAT(
        SetUpEngine(flags, ClusterDevice()).status().ToString(),
        AllOf(HasSubstr("--kv-cache-dtype"), HasSubstr("is for GPUs"), HasSubstr("at auto")));
    flags.dtype = "float32";
    EXPECT_THAT(SetUpEngine(flags, Cuda(1, true)).status().ToString(),
                AllOf(HasSubstr("--kv-cache-dtype"), HasSubstr("--dtype float16 or bfloat16")));
  }
}

TEST(SetUpEngine, ReluSkip) {
  EngineFlags flags = Dummy();
  for (const spec::ReluSkip skip :
       {spec::ReluSkip::kOff, spec::ReluSkip::kGroup, spec::ReluSkip::kFull}) {
    flags.relu_skip = spec::Name(skip);
    EXPECT_EQ(SetUpEngine(flags, Cuda(1, true))->load.plan.relu_skip, skip);
  }
}

TEST(SetUpEngine, AModelThatIsTooLargeForTheGpus) {
  EXPECT_THAT(SetUpEngine(Dummy("opt-13b"), Cuda(2, true, 24)).status().ToString(),
              AllOf(HasSubstr("opt-13b in float16 on 1 rank does not fit"),
                    HasSubstr("it would fit with --tp 2")));
}

TEST(SetUpEngine, ACoordinatorWithoutAGpuMustBeToldOfThem) {
  EngineFlags flags = Dummy("opt-13b");
  EXPECT_THAT(SetUpEngine(flags, Cuda(0, false)).status().ToString(),
              AllOf(HasSubstr("--gpu-memory"), HasSubstr("--num-kv-blocks")));
  flags.gpu_memory_gib = 80;
  const auto told = SetUpEngine(flags, Cuda(0, false));
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_EQ(told->load.plan.limits.num_blocks,
            SetUpEngine(Dummy("opt-13b"), Cuda(1, true))->load.plan.limits.num_blocks);
  flags.gpu_memory_gib = 0;
  flags.num_kv_blocks = 300;
  EXPECT_EQ(SetUpEngine(flags, Cuda(0, false))->load.plan.limits.num_blocks, 300);
}

}  // namespace
}  // namespace pamir::cli
