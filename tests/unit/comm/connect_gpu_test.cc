// Which transport ranks on GPUs get, and what is refused.
#include "engine/comm/nccl_api.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/comm/gpu_ranks.h"

namespace pamir::comm {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using testing::FakeCuda;
using ::testing::HasSubstr;

class ConnectGpuTest : public ::testing::Test {
 protected:
  GpuWorld World(int n, Transport transport = Transport::kAuto) const {
    return OneGpuStage(n, transport, nccl_);
  }
  // [rank]: "stage/world" transports, or the error.
  std::vector<std::string> Transports(const GpuWorld& world) const {
    return RunGpuRanks(fake_, world, [](GpuRank& at) {
      return std::string(at.stage.transport()) + "/" + at.world.transport();
    });
  }

  const FakeCuda fake_;
  const FakeNccl nccl_{fake_.api()};
};

TEST_F(ConnectGpuTest, GpusOfTheirOwnGetNccl) {
  EXPECT_THAT(Transports(World(2)), Each("nccl/nccl"));
}

TEST_F(ConnectGpuTest, OneCommunicatorServesBothGroupsWhereTheyAreTheSame) {
  const auto same = RunGpuRanks(fake_, World(2), [](GpuRank& at) -> std::string {
    return &at.stage == &at.world ? "" : "two";
  });
  EXPECT_THAT(same, Each(""));
  EXPECT_EQ(nccl_.destroyed(), 2);
}

TEST_F(ConnectGpuTest, RanksOnOneGpuAreStaged) {
  GpuWorld world = World(2);
  world.bus_ids[1] = world.bus_ids[0];
  EXPECT_THAT(Transports(world), Each("staged-shm/staged-shm"));
}

// Ranks 0 and 2 share a GPU, and no stage.
TEST_F(ConnectGpuTest, GroupsDecideEachForThemselves) {
  GpuWorld world = World(3);
  world.stage_of_rank = {0, 0, 1};
  world.bus_ids[2] = world.bus_ids[0];
  EXPECT_THAT(Transports(world),
              ElementsAre("nccl/staged-shm", "nccl/staged-shm", "none/staged-shm"));
}

TEST_F(ConnectGpuTest, WithoutNcclTheyAreStaged) {
  GpuWorld world = World(2);
  world.nccl[1] = absl::NotFoundError("libnccl.so.2: cannot open");
  EXPECT_THAT(Transports(world), Each("staged-shm/staged-shm"));
}

TEST_F(ConnectGpuTest, CpuRanksAmongThemGetTheHostsTransport) {
  GpuWorld world = World(3);
  world.bus_ids[1] = "";
  EXPECT_THAT(Transports(world),
              ElementsAre("staged-shm/staged-shm", "shm/shm", "staged-shm/staged-shm"));
}

TEST_F(ConnectGpuTest, WhatIsAskedForIsGiven) {
  EXPECT_THAT(Transports(World(2, Transport::kStaged)), Each("staged-shm/staged-shm"));
  EXPECT_THAT(Transports(World(2, Transport::kShm)), Each("staged-shm/staged-shm"));
  EXPECT_THAT(Transports(World(2, Transport::kGloo)), Each("staged-gloo/staged-gloo"));
  EXPECT_THAT(Transports(World(2, Transport::kNccl)), Each("nccl/nccl"));
}

TEST_F(ConnectGpuTest, AWorldOfOne) {
  EXPECT_THAT(Transports(World(1)), Each("none/none"));
  EXPECT_THAT(Transports(World(1, Transport::kNccl)), Each("nccl/nccl"));
  const auto results = RunGpuRanks(fake_, World(1), [](GpuRank& at) -> std::string {
    WANT(at.world.capturable());
    const DeviceFloats mine(at, {1.0f, 2.0f}), all(at, 2);
    WANT_OK(at.world.AllReduce(mine.get(), 2, at.stream));
    WANT_OK(at.world.Gather(0, mine.get(), {2}, all.get(), at.stream));
    WANT(all.Get() == mine.Get());
    return "";
  });
  EXPECT_THAT(results, Each(""));
}

TEST_F(ConnectGpuTest, NcclForTwoRanksOnOneGpuIsRefused) {
  GpuWorld world = World(2, Transport::kNccl);
  world.bus_ids[1] = world.bus_ids[0];
  EXPECT_THAT(Transports(world),
              Each(HasSubstr("rank 0 and rank 1 are on one GPU (0000:00:00.0), and NCCL wants a "
                             "GPU for each rank")));
}

TEST_F(ConnectGpuTest, NcclThatARankLacksIsRefused) {
  GpuWorld world = World(2, Transport::kNccl);
  world.nccl[1] = absl::NotFoundError("libnccl.so.2: cannot open");
  EXPECT_THAT(Transports(world), Each(HasSubstr("rank 1 has no NCCL: libnccl.so.2: cannot open")));
}

TEST_F(ConnectGpuTest, NcclOfTwoVersionsIsRefused) {
  GpuWorld world = World(2, Transport::kNccl);
  NcclApi older = *nccl_.api();
  older.version = 21805;
  world.nccl[1] = &older;
  EXPECT_THAT(Transports(world), Each(HasSubstr("rank 0 has NCCL 2.28.9, rank 1 has 2.18.5")));
  world.transport = Transport::kAuto;
  EXPECT_THAT(Transports(world), Each("staged-shm/staged-shm"));
}

TEST_F(ConnectGpuTest, TransportsOfGpusAreRefusedOnCpus) {
  GpuWorld world = World(2, Transport::kNccl);
  world.bus_ids[1] = "";
  EXPECT_THAT(Transports(world), Each(HasSubstr("--transport nccl is for ranks on GPUs; rank 1")));
  world.transport = Transport::kStaged;
  EXPECT_THAT(Transports(world),
              Each(HasSubstr("--transport staged is for ranks on GPUs; rank 1")));
}

TEST_F(ConnectGpuTest, TheLibraryOfThisBuildIsFoundOrNamed) {
  const absl::StatusOr<const NcclApi*> opened = OpenNccl("");
  if (opened.ok()) {
    EXPECT_GE((*opened)->version, 21800);
  } else {
    EXPECT_THAT(opened.status().ToString(), HasSubstr("NCCL"));
  }
}

}  // namespace
}  // namespace pamir::comm
