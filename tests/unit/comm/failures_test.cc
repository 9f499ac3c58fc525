// What every transport does when a rank does not come, ends, aborts, or does something else.
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/comm/rank_harness.h"

namespace pamir::comm {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr auto kDeadline = absl::StatusCode::kDeadlineExceeded;
constexpr auto kUnavailable = absl::StatusCode::kUnavailable;
constexpr auto kInternal = absl::StatusCode::kInternal;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class FailureTest : public ::testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(All, FailureTest,
                         ::testing::Values(Way::kThreads, Way::kShmThreads, Way::kShmProcesses,
                                           Way::kGlooThreads, Way::kGlooProcesses),
                         [](const auto& info) { return Name(info.param); });

// What only forked ranks can do: die.
class KilledTest : public ::testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(All, KilledTest,
                         ::testing::Values(Way::kShmProcesses, Way::kGlooProcesses),
                         [](const auto& info) { return Name(info.param); });

// What only ConnectGroups can do: number the ranks of a stage by the world. A ThreadGroup is its
// own.
class StageNamesTest : public ::testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(All, StageNamesTest,
                         ::testing::Values(Way::kShmThreads, Way::kShmProcesses, Way::kGlooThreads,
                                           Way::kGlooProcesses),
                         [](const auto& info) { return Name(info.param); });

absl::Status SumOne(Communicator& communicator, int64_t count = 1) {
  std::vector<float> data(static_cast<size_t>(count), 1.0f);
  return communicator.AllReduce(data.data(), count, {});
}

RunOptions Impatient(int n) {
  RunOptions options = OneStage(n);
  options.timeout = absl::Milliseconds(300);
  return options;
}

TEST_P(FailureTest, ARankThatNeverComesIsNamedAtTheDeadline) {
  const auto body = [](RankContext& at) -> std::string {
    if (at.rank == 0) {
      const absl::Status first = SumOne(at.world());
      WANT_ERROR(first, kDeadline, "rank 2 did not come to all-reduce within 300ms");
      // Dead from here on, with the same words.
      WANT(SumOne(at.world()) == first);
      char byte = 0;
      WANT(at.world().Send(1, &byte, 1, {}) == first);
    } else if (at.rank == 1) {
      // Whether its own deadline or rank 0's end comes first, it hears of rank 2.
      WANT_ERROR(SumOne(at.world()), SumOne(at.world()).code(), "rank 2 did not come");
    }
    return at.exchange("all tried").status().ok() ? "" : "the exchange failed";
  };
  EXPECT_THAT(RunRanks(GetParam(), Impatient(3), body), Each(""));
}

TEST_P(FailureTest, ASenderThatNeverComesIsNamedAtTheDeadline) {
  const auto body = [](RankContext& at) -> std::string {
    if (at.rank == 0) {
      char byte = 0;
      WANT_ERROR(at.world().Recv(1, &byte, 1, {}), kDeadline, "rank 1 did not come to send/recv");
    }
    return at.exchange("tried").status().ok() ? "" : "the exchange failed";
  };
  EXPECT_THAT(RunRanks(GetParam(), Impatient(2), body), Each(""));
}

TEST_P(StageNamesTest, ARankOfALaterStageIsCalledByItsWorldRank) {
  RunOptions options = Impatient(4);
  options.stage_of_rank = {0, 0, 1, 1};
  const auto body = [](RankContext& at) -> std::string {
    if (at.rank == 2) WANT_ERROR(SumOne(*at.groups.stage), kDeadline, "rank 3 did not come");
    return at.exchange("tried").status().ok() ? "" : "the exchange failed";
  };
  EXPECT_THAT(RunRanks(GetParam(), options, body), Each(""));
}

// Under a timeout of 30 s: UNAVAILABLE and not DEADLINE_EXCEEDED says that it was noticed before.
TEST_P(KilledTest, AKilledPeerIsNoticed) {
  const std::string words = OverGloo(GetParam()) ? "rank 2 has ended" : "has ended";
  const auto body = [&](RankContext& at) -> std::string {
    WANT_OK(SumOne(at.world()));
    if (at.rank == 2) kill(getpid(), SIGKILL);
    const absl::Status status = SumOne(at.world());
    WANT_ERROR(status, kUnavailable, words);
    WANT_ERROR(status, kUnavailable, "rank 2");
    return "";
  };
  EXPECT_THAT(RunRanks(GetParam(), OneStage(3), body), ElementsAre("", "", kKilled));
}

TEST_P(KilledTest, APeerKilledInALargeMessageIsNoticed) {
  const auto body = [&](RankContext& at) -> std::string {
    std::vector<char> data(4 << 20);
    if (at.rank == 1) {
      WANT_OK(at.world().Recv(0, data.data(), 1, {}));
      kill(getpid(), SIGKILL);
    }
    WANT_OK(at.world().Send(1, data.data(), 1, {}));
    WANT_ERROR(at.world().Send(1, data.data(), 4 << 20, {}), kUnavailable, "rank 1");
    return "";
  };
  EXPECT_THAT(RunRanks(GetParam(), OneStage(2), body), ElementsAre("", kKilled));
}

TEST_P(FailureTest, APeerThatLeavesIsNoticedButWhatItSentCounts) {
  const auto body = [](RankContext& at) -> std::string {
    int32_t word = 17;
    if (at.rank == 1) {
      WANT_OK(at.world().Send(0, &word, sizeof(word), {}));
      at.groups.world.reset();
      return "";
    }
    word = 0;
    WANT_OK(at.world().Recv(1, &word, sizeof(word), {}));
    WANT(word == 17);
    WANT_ERROR(at.world().Recv(1, &word, sizeof(word), {}), kUnavailable, "rank 1");
    return "";
  };
  EXPECT_THAT(RunRanks(GetParam(), OneStage(2), body), Each(""));
}

TEST_P(FailureTest, AbortEndsAWaitAndAllLaterCalls) {
  const auto body = [](RankContext& at) -> std::string {
    if (at.rank == 0) {
      const absl::Status why = absl::CancelledError("a new epoch");
      // Whether the wait has begun or not when it comes, the outcome is the same.
      std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        at.world().Abort(why);
      });
      const absl::Status got = SumOne(at.world(), 200'000);
      other.join();
      WANT(got == why);
      WANT(SumOne(at.world()) == why);
    }
    WANT_OK(at.exchange("aborted").status());
    // The peer that comes late learns of it instead of waiting for 30 s.
    if (at.rank == 1) WANT_ERROR(SumOne(at.world(), 200'000), kUnavailable, "rank 0");
    return "";
  };
  EXPECT_THAT(RunRanks(GetParam(), OneStage(2), body), Each(""));
}

TEST_P(FailureTest, AbortBeforeAnyCall) {
  const auto body = [](RankContext& at) -> std::string {
    at.world().Abort(absl::OkStatus());
    at.world().Abort(absl::InternalError("too late to be the first"));
    WANT_ERROR(SumOne(at.world()), absl::StatusCode::kCancelled, "aborted");
    return "";
  };
  EXPECT_THAT(RunRanks(GetParam(), OneStage(2), body), Each(""));
}

TEST_P(FailureTest, RanksThatDisagreeAreTold) {
  const auto body = [](RankContext& at) -> std::string {
    WANT_ERROR(SumOne(at.world(), at.rank + 1), kInternal,
               at.rank == 0 ? "rank 1 came to all-reduce of 8 bytes, rank 0 to all-reduce of 4"
                            : "rank 0 came to all-reduce of 4 bytes, rank 1 to all-reduce of 8");
    return at.exchange("tried").status().ok() ? "" : "the exchange failed";
  };
  EXPECT_THAT(RunRanks(GetParam(), OneStage(2), body), Each(""));
}

TEST_P(FailureTest, MessagesOfAnotherSizeAreRefused) {
  const auto body = [](RankContext& at) -> std::string {
    char bytes[16] = {};
    if (at.rank == 0) WANT_OK(at.world().Send(1, bytes, 16, {}));
    if (at.rank == 1) WANT_ERROR(at.world().Recv(0, bytes, 8, {}), kInternal, "16 bytes");
    return at.exchange("tried").status().ok() ? "" : "the exchange failed";
  };
  EXPECT_THAT(RunRanks(GetParam(), OneStage(2), body), Each(""));
}

TEST_P(FailureTest, BadArgumentsAreRefused) {
  using Call = std::function<absl::Status(Communicator&)>;
  const std::vector<Call> calls = {
      [](Communicator& c) { return SumOne(c, 3'000'000); },
      [](Communicator& c) { return c.AllReduce(nullptr, -1, {}); },
      [](Communicator& c) { return c.AllReduce(nullptr, INT64_MAX, {}); },
      [](Communicator& c) { return c.Broadcast(2, nullptr, 0, {}); },
      [](Communicator& c) { return c.Broadcast(0, nullptr, -1, {}); },
      [](Communicator& c) {
        return c.Gather(-1, nullptr, {0, 0}, nullptr, {});
      },
      [](Communicator& c) { return c.Gather(0, nullptr, {0}, nullptr, {}); },
      [](Communicator& c) {
        return c.Gather(0, nullptr, {0, INT64_MAX}, nullptr, {});
      },
      [](Communicator& c) { return c.Send(c.rank(), nullptr, 0, {}); },
      [](Communicator& c) { return c.Recv(2, nullptr, 0, {}); },
      [](Communicator& c) { return c.Recv(1 - c.rank(), nullptr, -5, {}); },
  };
  const size_t first = GetParam() == Way::kThreads ? 1 : 0;  // no limit short of 1 TiB there
  for (size_t i = first; i < calls.size(); ++i) {
    const auto body = [&](RankContext& at) -> std::string {
      WANT_ERROR(calls[i](at.world()), kInvalid, "");
      return at.exchange("tried").status().ok() ? "" : "the exchange failed";
    };
    EXPECT_THAT(RunRanks(GetParam(), OneStage(2), body), Each("")) << "call " << i;
  }
}

}  // namespace
}  // namespace pamir::comm
