// Staging: its pieces, and what it does when a rank does not come or gives up.
#include "engine/comm/staged.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/comm/gpu_ranks.h"
#include "unit/comm/parts.h"

namespace pamir::comm {
namespace {

using ::testing::Each;
using testing::FakeCuda;

TEST(Staged, PiecesOfAnySizeGiveTheBitsOfTheHost) {
  const FakeCuda fake({.queued = true});
  for (int64_t piece : {4, 12, 4096, 1 << 20}) {
    auto hosts = ThreadGroup(3, absl::Seconds(30));
    EXPECT_THAT(RunGpuRanks(fake, OneGpuStage(3, Transport::kShm, FakeNccl(fake.api())),
                            [&](GpuRank& at) -> std::string {
                              auto staged = MakeStagedCommunicator(
                                  std::move(hosts[static_cast<size_t>(at.rank)]), at.device, 40'000,
                                  piece);
                              WANT_OK(staged.status());
                              WANT(std::string((*staged)->transport()) == "staged-threads");
                              WANT(!(*staged)->capturable());
                              DeviceFloats data(at, PartsOf(at.rank, 1025));
                              WANT_OK((*staged)->AllReduce(data.get(), 1025, at.stream));
                              WANT(SameBits(data.Get(), FoldInOrder({0, 1, 2}, 1025)));
                              return at.exchange("done").status().ok() ? "" : "the exchange failed";
                            }),
                Each(""));
  }
}

TEST(Staged, PinnedMemoryDoesNotGrowWithTheMessages) {
  EXPECT_EQ(StagedPinnedBytes(int64_t{1} << 40), 2 << 20);
  EXPECT_EQ(StagedPinnedBytes(10), 24);
}

class StagedFailureTest : public ::testing::TestWithParam<Transport> {
 protected:
  const FakeCuda fake_{{.queued = true}};
  const FakeNccl nccl_{fake_.api()};
};

INSTANTIATE_TEST_SUITE_P(All, StagedFailureTest,
                         ::testing::Values(Transport::kShm, Transport::kGloo),
                         [](const auto& info) {
                           return info.param == Transport::kShm ? "Shm" : "Gloo";
                         });

TEST_P(StagedFailureTest, ARankThatNeverComesIsNamedAtTheDeadline) {
  GpuWorld world = OneGpuStage(2, GetParam(), nccl_);
  world.timeout = absl::Milliseconds(300);
  const auto results = RunGpuRanks(fake_, world, [](GpuRank& at) -> std::string {
    const DeviceFloats data(at, 8);
    if (at.rank == 0) {
      const absl::Status first = at.world.AllReduce(data.get(), 8, at.stream);
      WANT_ERROR(first, absl::StatusCode::kDeadlineExceeded,
                 "rank 1 did not come to all-reduce within 300ms");
      WANT(at.world.Send(1, data.get(), 4, at.stream) == first);
    }
    return at.exchange("tried").ok() ? "" : "the exchange failed";
  });
  EXPECT_THAT(results, Each(""));
}

TEST_P(StagedFailureTest, AbortEndsAWaitAndAllLaterCalls) {
  const GpuWorld world = OneGpuStage(2, GetParam(), nccl_);
  const auto results = RunGpuRanks(fake_, world, [](GpuRank& at) -> std::string {
    const absl::Status why = absl::CancelledError("the coordinator says so");
    const DeviceFloats data(at, 8);
    if (at.rank == 0) {
      std::thread other([&] { at.world.Abort(why); });
      const absl::Status status = at.world.Recv(1, data.get(), 32, at.stream);  // never sent
      other.join();
      WANT(status == why);
      WANT(at.world.AllReduce(data.get(), 8, at.stream) == why);
    }
    return at.exchange("done").ok() ? "" : "the exchange failed";
  });
  EXPECT_THAT(results, Each(""));
}

// The peers hear of a device's error; they need not wait for the deadline.
TEST_P(StagedFailureTest, APeersLostDeviceIsTold) {
  const GpuWorld world = OneGpuStage(2, GetParam(), nccl_);
  const auto results = RunGpuRanks(fake_, world, [](GpuRank& at) -> std::string {
    const DeviceFloats data(at, 8);
    if (at.rank == 0) {
      at.world.Abort(absl::InternalError("GPU 0: an illegal memory access was encountered"));
    } else {
      WANT_ERROR(at.world.AllReduce(data.get(), 8, at.stream), absl::StatusCode::kUnavailable,
                 "rank 0");
    }
    return at.exchange("done").ok() ? "" : "the exchange failed";
  });
  EXPECT_THAT(results, Each(""));
}

}  // namespace
}  // namespace pamir::comm
