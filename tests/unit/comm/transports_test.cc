// What every transport must give: the same values, to the bit.
#include <numeric>
#include <random>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/comm/parts.h"
#include "unit/comm/rank_harness.h"

namespace pamir::comm {
namespace {

using ::testing::Each;

class TransportTest : public ::testing::TestWithParam<Way> {
 protected:
  void Run(const RunOptions& options, const RankBody& body) {
    EXPECT_THAT(RunRanks(GetParam(), options, body), Each(""));
  }
};

INSTANTIATE_TEST_SUITE_P(All, TransportTest,
                         ::testing::Values(Way::kThreads, Way::kShmThreads, Way::kShmProcesses,
                                           Way::kGlooThreads, Way::kGlooProcesses),
                         [](const auto& info) { return Name(info.param); });

TEST(TransportTestData, OrderOfSummationShowsInTheBits) {
  EXPECT_FALSE(SameBits(FoldInOrder({0, 1, 2}, 384), FoldInOrder({1, 2, 0}, 384)));
  EXPECT_FALSE(SameBits(FoldInOrder({0, 1, 2}, 384), FoldInOrder({0, 2, 1}, 384)));
}

TEST_P(TransportTest, AllReduceFoldsInRankOrder) {
  for (int n : {2, 3, 5}) {
    std::vector<int> ranks(static_cast<size_t>(n));
    std::iota(ranks.begin(), ranks.end(), 0);
    Run(OneStage(n), [&](RankContext& at) -> std::string {
      for (int64_t count : {0, 1, 2, 384, 8193, 12288, 1'000'000}) {
        std::vector<float> data = PartsOf(at.rank, count);
        WANT_OK(at.world().AllReduce(data.data(), count, {}));
        WANT(SameBits(data, FoldInOrder(ranks, count)));
      }
      return "";
    });
  }
}

TEST_P(TransportTest, GatherOfUnevenCounts) {
  const std::vector<int64_t> counts = {5, 0, 300'000};
  for (int root : {0, 1, 2}) {
    Run(OneStage(3), [&](RankContext& at) -> std::string {
      const std::vector<float> mine = PartsOf(at.rank, counts[static_cast<size_t>(at.rank)]);
      std::vector<float> all(at.rank == root ? 300'005 : 0), wanted;
      WANT_OK(at.world().Gather(root, mine.data(), counts, all.data(), {}));
      if (at.rank != root) return "";
      for (int r : {0, 1, 2}) {
        const std::vector<float> part = PartsOf(r, counts[static_cast<size_t>(r)]);
        wanted.insert(wanted.end(), part.begin(), part.end());
      }
      WANT(SameBits(all, wanted));
      return "";
    });
  }
}

TEST_P(TransportTest, BroadcastFromEachRoot) {
  Run(OneStage(3), [&](RankContext& at) -> std::string {
    for (int64_t count : {0, 1, 384, 1'000'000}) {
      for (int root : {0, 1, 2}) {
        std::vector<float> data = PartsOf(at.rank, count);
        WANT_OK(at.world().Broadcast(root, data.data(), count * 4, {}));
        WANT(SameBits(data, PartsOf(root, count)));
      }
    }
    return "";
  });
}

TEST_P(TransportTest, MessagesArriveInOrderWhateverTheirSizes) {
  const std::vector<int64_t> sizes = {3, 0, 1'000'000, 1, 65'536, 17, 100'000};
  Run(OneStage(3), [&](RankContext& at) -> std::string {
    for (int64_t size : sizes) {
      std::vector<float> data = PartsOf(0, size);
      if (at.rank > 0) {
        std::fill(data.begin(), data.end(), 0.0f);
        WANT_OK(at.world().Recv(at.rank - 1, data.data(), size * 4, {}));
        WANT(SameBits(data, PartsOf(0, size)));
      }
      if (at.rank < 2) WANT_OK(at.world().Send(at.rank + 1, data.data(), size * 4, {}));
    }
    return "";
  });
}

TEST_P(TransportTest, SendDoesNotWaitForASmallMessageToBeReceived) {
  Run(OneStage(2), [](RankContext& at) -> std::string {
    int32_t theirs = -1;
    WANT_OK(at.world().Send(1 - at.rank, &at.rank, sizeof(int32_t), {}));
    WANT_OK(at.world().Recv(1 - at.rank, &theirs, sizeof(int32_t), {}));
    WANT(theirs == 1 - at.rank);
    return "";
  });
}

// Every rank pauses at moments of its own, longer and shorter than ranks spin.
TEST_P(TransportTest, ManyOperationsWithRandomDelays) {
  for (bool spin : {true, false}) {
    RunOptions options = OneStage(3);
    options.spin = spin;
    Run(options, [](RankContext& at) -> std::string {
      std::mt19937 common(11), own(static_cast<uint32_t>(100 + at.rank));
      for (int i = 0; i < 150; ++i) {
        if (own() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(own() % 300));
        const int64_t count = static_cast<int64_t>(common() % 20'000);
        const int root = static_cast<int>(common() % 3);
        std::vector<float> data = PartsOf(at.rank, count);
        switch (common() % 3) {
          case 0:
            WANT_OK(at.world().AllReduce(data.data(), count, {}));
            WANT(SameBits(data, FoldInOrder({0, 1, 2}, count)));
            break;
          case 1:
            WANT_OK(at.world().Broadcast(root, data.data(), count * 4, {}));
            WANT(SameBits(data, PartsOf(root, count)));
            break;
          case 2:
            if (at.rank == root)
              WANT_OK(at.world().Send((root + 1) % 3, data.data(), count * 4, {}));
            if (at.rank != (root + 1) % 3) break;
            WANT_OK(at.world().Recv(root, data.data(), count * 4, {}));
            WANT(SameBits(data, PartsOf(root, count)));
        }
      }
      return "";
    });
  }
}

// A pipeline of uneven stages: the first two ranks share a stage, the last one hands ids back.
TEST_P(TransportTest, TwoGroupsAtOnceWithUnevenStages) {
  RunOptions options;
  options.stage_of_rank = {0, 0, 1};
  Run(options, [](RankContext& at) -> std::string {
    Communicator& stage = *at.groups.stage;
    WANT(stage.size() == (at.rank < 2 ? 2 : 1));
    WANT(stage.rank() == (at.rank < 2 ? at.rank : 0));
    for (int i = 0; i < 50; ++i) {
      std::vector<float> data = PartsOf(at.rank, 384);
      WANT_OK(stage.AllReduce(data.data(), 384, {}));
      WANT(SameBits(data, at.rank < 2 ? FoldInOrder({0, 1}, 384) : PartsOf(2, 384)));
      if (at.rank == 0) WANT_OK(at.world().Send(2, data.data(), 384 * 4, {}));
      if (at.rank == 2) {
        WANT_OK(at.world().Recv(0, data.data(), 384 * 4, {}));
        WANT(SameBits(data, FoldInOrder({0, 1}, 384)));
      }
      int32_t id = at.rank == 2 ? 1000 + i : -1;
      WANT_OK(at.world().Broadcast(2, &id, sizeof(id), {}));
      WANT(id == 1000 + i);
    }
    return "";
  });
}

TEST_P(TransportTest, KnowsItselfAndItsLimits) {
  Run(OneStage(2), [way = GetParam()](RankContext& at) -> std::string {
    WANT(at.world().rank() == at.rank && at.world().size() == 2);
    const std::string transport = at.world().transport();
    WANT(transport == (way == Way::kThreads ? "threads" : OverGloo(way) ? "gloo" : "shm"));
    return "";
  });
}

}  // namespace
}  // namespace pamir::comm
