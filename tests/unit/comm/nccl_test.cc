// How NCCL communicators are joined, left and ended.
#include "engine/comm/nccl.h"

#include <thread>

#include "engine/comm/nccl_comm.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/comm/gpu_ranks.h"

namespace pamir::comm {
namespace {

using ::testing::Each;
using testing::FakeCuda;
using ::testing::HasSubstr;

constexpr auto kDeadline = absl::StatusCode::kDeadlineExceeded;
constexpr auto kUnavailable = absl::StatusCode::kUnavailable;

class NcclTest : public ::testing::Test {
 protected:
  GroupInfo Group(int rank, int size, absl::Duration timeout = absl::Milliseconds(300)) const {
    GroupInfo group;
    group.rank = rank;
    for (int r = 0; r < size; ++r) group.world_rank_of.push_back(4 + r);  // a later stage
    group.timeout = timeout;
    group.max_message_bytes = 4096;
    return group;
  }
  absl::Status Join(const GroupInfo& group, const std::string& id) {
    return StartNccl(*nccl_.api(), group, *device_, id).status();
  }
  std::string Id() { return *MakeNcclId(*nccl_.api()); }

  // Two ranks as threads, with a world that waits long.
  void RunTwo(const GpuBody& body) {
    EXPECT_THAT(RunGpuRanks(fake_, OneGpuStage(2, Transport::kNccl, nccl_), body), Each(""));
  }

  const FakeCuda fake_;
  FakeNccl nccl_{fake_.api()};
  std::unique_ptr<device::CudaDevice> device_ = *device::CudaDevice::OpenWith(fake_.api(), 0);
};

TEST_F(NcclTest, ARankThatNeverJoinsIsNamedAtTheDeadline) {
  const absl::Status two = Join(Group(0, 2), Id());
  EXPECT_EQ(two.code(), kDeadline);
  EXPECT_THAT(two.ToString(), HasSubstr("rank 5 did not come to connect (NCCL) within 300ms"));
  const absl::Status three = Join(Group(1, 3), Id());
  EXPECT_THAT(three.ToString(), HasSubstr("rank 4, rank 6 (one or more of them) did not come"));
  EXPECT_EQ(nccl_.aborts(), 2);
  EXPECT_EQ(nccl_.alive(), 0);
  EXPECT_EQ(fake_.device_bytes(), 0);
}

TEST_F(NcclTest, AnIdOfAnotherSizeIsRefused) {
  EXPECT_EQ(Join(Group(0, 1), "short").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(NcclTest, AnErrorWhileJoiningIsTold) {
  nccl_.Break(0, kNcclRemoteError);
  const absl::Status status = Join(Group(0, 1), Id());
  EXPECT_EQ(status.code(), kUnavailable);
  EXPECT_THAT(status.ToString(), HasSubstr("connect (NCCL): remote process exited"));
  EXPECT_EQ(nccl_.aborts(), 1);
}

TEST_F(NcclTest, IsLeftInOrder) {
  ASSERT_TRUE(Join(Group(0, 1), Id()).ok());
  EXPECT_EQ(nccl_.destroyed(), 1);
  EXPECT_EQ(nccl_.aborts(), 0);
}

// What NCCL meets between two calls shows at the next one, and stays.
TEST_F(NcclTest, APeersDeathEndsIt) {
  RunTwo([this](GpuRank& at) -> std::string {
    const DeviceFloats data(at, 8);
    WANT_OK(at.world.AllReduce(data.get(), 8, at.stream));
    WANT(at.exchange("summed").ok());
    if (at.rank == 0) nccl_.Break(0, kNcclRemoteError);
    if (at.rank == 0) {
      const absl::Status first = at.world.AllReduce(data.get(), 8, at.stream);
      WANT_ERROR(first, kUnavailable, "all-reduce (NCCL): remote process exited");
      WANT(at.world.Send(1, data.get(), 4, at.stream) == first);
      WANT(nccl_.aborts() == 1);
    }
    return at.exchange("done").ok() ? "" : "the exchange failed";
  });
}

// From another thread, while the call waits for NCCL.
TEST_F(NcclTest, AbortEndsWhatWaitsOnce) {
  RunTwo([this](GpuRank& at) -> std::string {
    if (at.rank == 1) return at.exchange("done").ok() ? "" : "the exchange failed";
    const absl::Status why = absl::CancelledError("the coordinator says so");
    const DeviceFloats data(at, 8);
    std::thread other([&] { at.world.Abort(why); });
    // Never sent.
    const absl::Status status = at.world.Recv(1, data.get(), 32, at.stream);
    other.join();
    WANT(status == why);
    at.world.Abort(absl::InternalError("too late"));
    WANT(at.world.AllReduce(data.get(), 8, at.stream) == why);
    WANT(nccl_.aborts() == 1);
    return at.exchange("done").ok() ? "" : "the exchange failed";
  });
}

TEST_F(NcclTest, AnOperationThatIsNotQueuedInTimeEndsIt) {
  GpuWorld world = OneGpuStage(2, Transport::kNccl, nccl_);
  world.timeout = absl::Milliseconds(300);
  const auto results = RunGpuRanks(fake_, world, [](GpuRank& at) -> std::string {
    const DeviceFloats data(at, 8);
    if (at.rank == 0) {
      WANT_ERROR(at.world.AllReduce(data.get(), 8, at.stream), kDeadline,
                 "rank 1 did not come to all-reduce (NCCL) within 300ms");
    }
    return at.exchange("done").ok() ? "" : "the exchange failed";
  });
  EXPECT_THAT(results, Each(""));
}

TEST_F(NcclTest, FloatsMustBeAligned) {
  RunTwo([](GpuRank& at) -> std::string {
    const DeviceFloats data(at, 8);
    WANT_ERROR(at.world.AllReduce(data.get() + 1, 4, at.stream), absl::StatusCode::kInvalidArgument,
               "multiples of 16 bytes");
    return "";
  });
}

TEST(NcclVersion, ReadsAsNvidiaWritesIt) { EXPECT_EQ(NcclVersionName(22809), "2.28.9"); }

}  // namespace
}  // namespace pamir::comm
