#include "cli/device_choice.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/cli/test_gpus.h"

namespace pamir::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ListGpus Has(int count) {
  return [count] { return SomeGpus(count); };
}
absl::StatusOr<Gpus> NoDriver() { return absl::UnavailableError("no driver is installed"); }
absl::StatusOr<Gpus> NeverAsked() {
  ADD_FAILURE() << "the GPUs were asked for";
  return SomeGpus(1);
}

TEST(WorkerDevice, TheFlagSaysWhich) {
  EXPECT_EQ(ChooseWorkerDevice("cpu", NeverAsked)->kind, spec::DeviceKind::kCpu);
  EXPECT_EQ(ChooseWorkerDevice("cuda", Has(2))->index, 0);
  const auto second = ChooseWorkerDevice("cuda:1", Has(2));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->kind, spec::DeviceKind::kCuda);
  EXPECT_EQ(second->index, 1);
  EXPECT_EQ(second->gpu.memory_bytes, 80 * kGiB);
}

TEST(WorkerDevice, AutoIsTheFirstGpuElseTheCpu) {
  EXPECT_EQ(ChooseWorkerDevice("auto", Has(2))->kind, spec::DeviceKind::kCuda);
  EXPECT_EQ(ChooseWorkerDevice("auto", Has(2))->index, 0);
  EXPECT_EQ(ChooseWorkerDevice("auto", Has(0))->kind, spec::DeviceKind::kCpu);
  EXPECT_EQ(ChooseWorkerDevice("auto", NoDriver)->kind, spec::DeviceKind::kCpu);
}

TEST(WorkerDevice, AMissingGpuIsSaid) {
  EXPECT_THAT(ChooseWorkerDevice("cuda", NoDriver).status().ToString(),
              AllOf(HasSubstr("--device cuda: no driver is installed"), HasSubstr("--device cpu")));
  EXPECT_THAT(ChooseWorkerDevice("cuda:0", Has(0)).status().ToString(),
              HasSubstr("no GPU is visible"));
  EXPECT_THAT(ChooseWorkerDevice("cuda:2", Has(2)).status().ToString(),
              AllOf(HasSubstr("--device cuda:2"), HasSubstr("2 (cuda:0 to cuda:1)")));
  EXPECT_THAT(ChooseWorkerDevice("cuda:1", Has(1)).status().ToString(), HasSubstr("1 (cuda:0)"));
  EXPECT_THAT(ChooseWorkerDevice("tpu", Has(1)).status().ToString(), HasSubstr("cuda:N"));
}

TEST(WorkerDevice, WhatTheFlagMayBe) {
  for (const char* good : {"auto", "cpu", "cuda", "cuda:0", "cuda:15"}) {
    EXPECT_TRUE(IsWorkerDevice(good)) << good;
  }
  for (const char* bad : {"", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:1 ",
                          "cuda:99999", "cuda:x", "cuda0"}) {
    EXPECT_FALSE(IsWorkerDevice(bad)) << bad;
  }
}

TEST(WorkerDevice, TheNameTellsGpusApart) {
  EXPECT_EQ(NameOf(*ChooseWorkerDevice("cpu", NeverAsked)), "cpu");
  EXPECT_EQ(NameOf(*ChooseWorkerDevice("cuda:1", Has(2))), "cuda:1 GPU of a test (0000:01:00.0)");
}

TEST(ClusterDevice, AutoIsTheGpusOfThisMachine) {
  for (const bool local : {false, true}) {
    EXPECT_EQ(ChooseClusterDevice("cpu", local, NeverAsked)->kind, spec::DeviceKind::kCpu);
    EXPECT_EQ(ChooseClusterDevice("auto", local, NoDriver)->kind, spec::DeviceKind::kCpu);
    const auto device = ChooseClusterDevice("auto", local, Has(3));
    EXPECT_EQ(device->kind, spec::DeviceKind::kCuda);
    EXPECT_EQ(device->gpus.size(), 3u);
    EXPECT_EQ(device->local, local);
  }
}

TEST(ClusterDevice, OnlyACoordinatorCanDoWithoutAGpuOfItsOwn) {
  EXPECT_THAT(ChooseClusterDevice("cuda", true, NoDriver).status().ToString(),
              HasSubstr("no driver is installed"));
  const auto device = ChooseClusterDevice("cuda", false, NoDriver);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(device->kind, spec::DeviceKind::kCuda);
  EXPECT_TRUE(device->gpus.empty());
}

TEST(ClusterDevice, ChildrenGetTheGpusInTurn) {
  const auto gpus = ChooseClusterDevice("cuda", true, Has(2));
  EXPECT_EQ(DeviceOfChild(*gpus, 0), "cuda:0");
  EXPECT_EQ(DeviceOfChild(*gpus, 1), "cuda:1");
  EXPECT_EQ(DeviceOfChild(*gpus, 2), "cuda:0");
  EXPECT_EQ(DeviceOfChild(*ChooseClusterDevice("cpu", true, NeverAsked), 1), "cpu");
}

}  // namespace
}  // namespace pamir::cli
