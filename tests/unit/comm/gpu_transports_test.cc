// What every transport between GPU ranks must give: the same values, to the bit.
#include <numeric>

#include "engine/comm/nccl.h"
#include "engine/comm/nccl_comm.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/comm/gpu_ranks.h"
#include "unit/comm/parts.h"

namespace pamir::comm {
namespace {

using ::testing::Each;
using testing::FakeCuda;

// Over shared memory, over Gloo, NCCL.
class GpuTransportTest : public ::testing::TestWithParam<Transport> {
 protected:
  void Run(int n, const GpuBody& body) {
    EXPECT_THAT(RunGpuRanks(fake_, OneGpuStage(n, GetParam(), nccl_), body), Each(""));
  }

  FakeCuda fake_{{.queued = true}};  // a wait that is missing shows
  FakeNccl nccl_{fake_.api()};
};

INSTANTIATE_TEST_SUITE_P(All, GpuTransportTest,
                         ::testing::Values(Transport::kShm, Transport::kGloo, Transport::kNccl),
                         [](const auto& info) {
                           return info.param == Transport::kShm    ? "StagedShm"
                                  : info.param == Transport::kGloo ? "StagedGloo"
                                                                   : "Nccl";
                         });

std::vector<int> Ranks(int n) {
  std::vector<int> ranks(static_cast<size_t>(n));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

// One piece and several; split evenly or not.
TEST_P(GpuTransportTest, AllReduceFoldsInRankOrder) {
  for (int n : {1, 2, 3}) {
    Run(n, [n](GpuRank& at) -> std::string {
      for (int64_t count : {0, 1, 2, 384, 8193, 65'537, 1'000'001}) {
        DeviceFloats data(at, PartsOf(at.rank, count));
        WANT_OK(at.world.AllReduce(data.get(), count, at.stream));
        WANT(SameBits(data.Get(), FoldInOrder(Ranks(n), count)));
      }
      return "";
    });
  }
}

// Nothing waits between them but what the transport itself waits for.
TEST_P(GpuTransportTest, SumsOneAfterTheOther) {
  Run(2, [](GpuRank& at) -> std::string {
    std::vector<float> wanted = FoldInOrder({0, 1}, 10'240);
    DeviceFloats data(at, PartsOf(at.rank, 10'240));
    for (int i = 0; i < 20; ++i) {
      WANT_OK(at.world.AllReduce(data.get(), 10'240, at.stream));
      if (i > 0) {
        for (float& x : wanted) x += x;
      }
    }
    WANT(SameBits(data.Get(), wanted));
    return "";
  });
}

TEST_P(GpuTransportTest, GatherOfUnevenCounts) {
  const std::vector<int64_t> counts = {5, 0, 600'000};
  for (int root : {0, 1, 2}) {
    Run(3, [&](GpuRank& at) -> std::string {
      const DeviceFloats mine(at, PartsOf(at.rank, counts[static_cast<size_t>(at.rank)]));
      const DeviceFloats all(at, at.rank == root ? 600'005 : 0);
      WANT_OK(at.world.Gather(root, mine.get(), counts, all.get(), at.stream));
      if (at.rank != root) return mine.Get().size() <= 600'000 ? "" : "lost";
      std::vector<float> wanted;
      for (int r : {0, 1, 2}) {
        const std::vector<float> part = PartsOf(r, counts[static_cast<size_t>(r)]);
        wanted.insert(wanted.end(), part.begin(), part.end());
      }
      WANT(SameBits(all.Get(), wanted));
      return "";
    });
  }
}

TEST_P(GpuTransportTest, BroadcastFromEachRoot) {
  Run(3, [](GpuRank& at) -> std::string {
    for (int64_t count : {0, 1, 384, 700'000}) {
      for (int root : {0, 1, 2}) {
        DeviceFloats data(at, PartsOf(at.rank, count));
        WANT_OK(at.world.Broadcast(root, data.get(), count * 4, at.stream));
        WANT(SameBits(data.Get(), PartsOf(root, count)));
      }
    }
    return "";
  });
}

TEST_P(GpuTransportTest, MessagesArriveInOrderWhateverTheirSizes) {
  Run(3, [](GpuRank& at) -> std::string {
    for (int64_t size : {3, 0, 700'000, 1, 262'144, 17}) {
      const DeviceFloats data(at, at.rank == 0 ? PartsOf(0, size) : PartsOf(9, size));
      if (at.rank > 0) {
        WANT_OK(at.world.Recv(at.rank - 1, data.get(), size * 4, at.stream));
        WANT(SameBits(data.Get(), PartsOf(0, size)));
      }
      if (at.rank < 2) WANT_OK(at.world.Send(at.rank + 1, data.get(), size * 4, at.stream));
      data.Get();  // lives until it is sent
    }
    return "";
  });
}

TEST_P(GpuTransportTest, TwoGroupsAtOnceWithUnevenStages) {
  GpuWorld world = OneGpuStage(3, GetParam(), nccl_);
  world.stage_of_rank = {0, 0, 1};
  const GpuBody body = [](GpuRank& at) -> std::string {
    WANT(at.stage.size() == (at.rank < 2 ? 2 : 1));
    for (int i = 0; i < 10; ++i) {
      DeviceFloats data(at, PartsOf(at.rank, 384));
      WANT_OK(at.stage.AllReduce(data.get(), 384, at.stream));
      if (at.rank == 0) WANT_OK(at.world.Send(2, data.get(), 384 * 4, at.stream));
      if (at.rank == 2) WANT_OK(at.world.Recv(0, data.get(), 384 * 4, at.stream));
      WANT(SameBits(data.Get(), FoldInOrder({0, 1}, 384)));
    }
    return "";
  };
  EXPECT_THAT(RunGpuRanks(fake_, world, body), Each(""));
}

TEST_P(GpuTransportTest, WrongArgumentsEndIt) {
  Run(2, [](GpuRank& at) -> std::string {
    const DeviceFloats data(at, 8);
    const std::string words = "this group carries 0 to";
    constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
    WANT_ERROR(at.world.AllReduce(data.get(), int64_t{1} << 40, at.stream), kInvalid, words);
    WANT_ERROR(at.world.Send(1 - at.rank, data.get(), 4, at.stream), kInvalid, words);
    WANT_ERROR(at.world.Broadcast(0, data.get(), 4, at.stream), kInvalid, words);
    WANT_ERROR(at.world.Gather(0, data.get(), {1, 1}, data.get(), at.stream), kInvalid, words);
    return "";
  });
}

// An error of the device is an error of the communicator, and stays.
TEST_P(GpuTransportTest, ALostDeviceEndsIt) {
  Run(2, [this](GpuRank& at) -> std::string {
    const DeviceFloats data(at, 8);
    WANT(at.exchange("both have their floats").ok());
    if (at.rank == 0) {
      fake_.FailLaunch(1);
      const int error = at.device.api().rank_sum(
          {.parts = data.get(), .ranks = 1, .stride = 8, .count = 8, .out = data.get()}, at.stream);
      at.device.api().synchronize_stream(at.stream);
      WANT(error != 0);
    }
    WANT(at.exchange("lost").ok());
    const absl::Status first = at.world.AllReduce(data.get(), 8, at.stream);
    WANT(!first.ok());
    WANT(at.world.AllReduce(data.get(), 8, at.stream) == first);
    return "";
  });
}

// Small thresholds, so that small messages go every way.
TEST(Nccl, EveryWayOfSummingGivesTheSameBits) {
  const FakeCuda fake({.queued = true});
  const FakeNccl nccl(fake.api());
  const NcclSizes sizes{.direct_bytes = 64, .block_bytes = 256};
  for (int n : {1, 2, 3, 5}) {
    const std::string id = *MakeNcclId(*nccl.api());
    const GpuBody body = [&](GpuRank& at) -> std::string {
      GroupInfo group;
      group.rank = at.rank;
      group.world_rank_of = Ranks(n);
      group.timeout = absl::Seconds(30);
      group.max_message_bytes = 4096;
      auto started = StartNccl(*nccl.api(), group, at.device, id, sizes);
      WANT_OK(started.status());
      WANT((*started)->capturable());
      for (int64_t count = 0; count <= 300; count += count < 100 ? 1 : 13) {
        DeviceFloats data(at, PartsOf(at.rank, count));
        WANT_OK((*started)->AllReduce(data.get(), count, at.stream));
        WANT(SameBits(data.Get(), FoldInOrder(Ranks(n), count)));
      }
      return at.exchange("done").status().ok() ? "" : "the exchange failed";
    };
    EXPECT_THAT(RunGpuRanks(fake, OneGpuStage(n, Transport::kShm, nccl), body), Each("")) << n;
  }
}

TEST(Nccl, ScratchDoesNotGrowWithTheMessages) {
  EXPECT_EQ(NcclScratchBytes(2, int64_t{1} << 40), 32 << 20);
  EXPECT_EQ(NcclScratchBytes(8, 40'000), 8 * 40'000);
  EXPECT_EQ(NcclScratchBytes(1, 4), 32);
}

}  // namespace
}  // namespace pamir::comm
