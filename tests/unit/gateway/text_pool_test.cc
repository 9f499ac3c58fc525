#include "gateway/text_pool.h"

#include <atomic>
#include <memory>
#include <numeric>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gateway/gate.h"
#include "gateway/strand.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pamir::gateway {
namespace {

TEST(TextPool, RefusesLongJobsBeyondItsLimitAndRunsTheRest) {
  absl::Notification release, running;
  std::atomic<int> ran{0};
  {
    TextPool pool(2, 3);
    ASSERT_TRUE(pool.TryPostLong([&] {
      running.Notify();
      release.WaitForNotification();
    }));
    running.WaitForNotification();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool.TryPostLong([&] { ++ran; }));
    EXPECT_FALSE(pool.TryPostLong([&] { ran += 100; }));
    release.Notify();
  }
  EXPECT_EQ(ran, 3);
}

TEST(TextPool, LongJobsLeaveAThreadToShortOnes) {
  absl::Notification short_ran;
  TextPool pool(3, 100);
  // Were one of these on every thread, the short job would never run and nobody be released.
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(pool.TryPostLong([&] { short_ran.WaitForNotification(); }));
  }
  pool.PostShort([&] { short_ran.Notify(); });
  short_ran.WaitForNotification();
}

TEST(TextPool, RunsWhatIsQueuedBeforeItEnds) {
  std::atomic<int> ran{0};
  {
    TextPool pool(2, 100);
    for (int i = 0; i < 50; ++i) {
      pool.PostShort([&] { ++ran; });
      ASSERT_TRUE(pool.TryPostLong([&] { ++ran; }));
    }
  }
  EXPECT_EQ(ran, 100);
}

struct Counter {
  explicit Counter(TextPool* pool, int expected)
      : done(expected), strand(pool, [this](std::vector<int> items) {
          EXPECT_FALSE(inside.exchange(true)) << "two threads at a time";
          for (const int item : items) {
            seen.push_back(item);
            done.DecrementCount();
          }
          inside = false;
        }) {}
  std::vector<int> seen;  // no lock: the strand must order its handlers
  std::atomic<bool> inside{false};
  absl::BlockingCounter done;
  Strand<int> strand;
};

TEST(Strand, KeepsEachStreamInOrderWhateverTheThreads) {
  constexpr int kItems = 2000, kStreams = 8;
  std::vector<std::shared_ptr<Counter>> streams;
  {
    TextPool pool(4, 1);
    for (int s = 0; s < kStreams; ++s) streams.push_back(std::make_shared<Counter>(&pool, kItems));
    for (int i = 0; i < kItems; ++i) {
      for (const auto& stream : streams) stream->strand.Push(i, stream);
    }
    for (const auto& stream : streams) stream->done.Wait();
  }
  std::vector<int> expected(kItems);
  std::iota(expected.begin(), expected.end(), 0);
  for (const auto& stream : streams) EXPECT_EQ(stream->seen, expected);
}

TEST(Strand, TakesNothingAfterClose) {
  auto pool = std::make_unique<TextPool>(2, 1);
  auto stream = std::make_shared<Counter>(pool.get(), 1);
  stream->strand.Push(1, stream);
  stream->done.Wait();
  stream->strand.Close();
  pool.reset();
  stream->strand.Push(2, stream);  // the pool is gone: must not be touched
  EXPECT_THAT(stream->seen, ::testing::ElementsAre(1));
}

TEST(Strand, KeepsItsOwnerAliveUntilHandled) {
  TextPool pool(2, 1);
  absl::Notification go, gone;
  struct Owner {
    Owner(TextPool* p, absl::Notification* g, absl::Notification* d)
        : destroyed(d), strand(p, [g](std::vector<int>) { g->WaitForNotification(); }) {}
    ~Owner() { destroyed->Notify(); }
    absl::Notification* destroyed;
    Strand<int> strand;
  };
  auto owner = std::make_shared<Owner>(&pool, &go, &gone);
  owner->strand.Push(1, owner);
  owner.reset();
  EXPECT_FALSE(gone.HasBeenNotified());
  go.Notify();
  gone.WaitForNotification();
}

TEST(Gate, RefusesBeyondTheLimitAndAfterClose) {
  Gate gate(2);
  auto first = gate.Enter();
  {
    auto second = gate.Enter();
    EXPECT_EQ(ErrorOf(second), nullptr);
    const auto third = gate.Enter();
    ASSERT_NE(ErrorOf(third), nullptr);
    EXPECT_EQ(ErrorOf(third)->code, ErrorCode::kOverloaded);
    EXPECT_THAT(ErrorOf(third)->message, ::testing::HasSubstr("2 calls"));
  }
  EXPECT_EQ(ErrorOf(gate.Enter()), nullptr);
  gate.Close();
  const auto late = gate.Enter();
  ASSERT_NE(ErrorOf(late), nullptr);
  EXPECT_EQ(ErrorOf(late)->code, ErrorCode::kDraining);
  EXPECT_FALSE(gate.WaitEmpty(absl::InfinitePast()));
  first = ApiError{};  // the ticket goes
  EXPECT_TRUE(gate.WaitEmpty(absl::InfinitePast()));
}

}  // namespace
}  // namespace pamir::gateway
