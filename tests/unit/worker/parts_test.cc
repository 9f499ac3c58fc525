// The small parts: wake queue, abort hook, exchange client.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/wake_queue.h"
#include "cluster/worker/abort_hook.h"
#include "cluster/worker/exchange_client.h"

namespace pamir::worker {
namespace {

using ::testing::ElementsAre;

constexpr absl::Duration kLong = absl::Seconds(20);

TEST(WakeQueueTest, IsBoundedAndKeepsPlacesFree) {
  WakeQueue<int> queue(3);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2, true, 1));
  EXPECT_FALSE(queue.TryPush(3, true, 1));
  EXPECT_TRUE(queue.TryPush(3));
  EXPECT_FALSE(queue.TryPush(4));
  EXPECT_THAT(queue.PopAll(kLong, absl::ZeroDuration()), ElementsAre(1, 2, 3));
  EXPECT_TRUE(queue.PopAll(absl::ZeroDuration(), absl::ZeroDuration()).empty());
}

TEST(WakeQueueTest, QuietItemsDoNotWake) {
  WakeQueue<int> queue(3);
  EXPECT_TRUE(queue.TryPush(1, /*wake=*/false));
  EXPECT_THAT(queue.PopAll(absl::Milliseconds(1), absl::Microseconds(50)), ElementsAre(1));
  EXPECT_TRUE(queue.TryPush(2, /*wake=*/false));
  EXPECT_TRUE(queue.TryPush(3));
  EXPECT_THAT(queue.PopAll(absl::InfiniteDuration(), absl::ZeroDuration()), ElementsAre(2, 3));
}

TEST(WakeQueueTest, WakeAndCloseEndAWait) {
  WakeQueue<int> queue(3);
  queue.Wake();
  EXPECT_TRUE(queue.PopAll(absl::InfiniteDuration(), absl::ZeroDuration()).empty());
  std::thread closer([&] { queue.Close(); });
  EXPECT_TRUE(queue.PopAll(absl::InfiniteDuration(), absl::ZeroDuration()).empty());
  closer.join();
  EXPECT_FALSE(queue.TryPush(1));
  EXPECT_TRUE(queue.PopAll(absl::InfiniteDuration(), kLong).empty());
}

TEST(WakeQueueTest, NothingIsLostBetweenThreads) {
  for (const absl::Duration spin : {absl::ZeroDuration(), absl::Microseconds(50)}) {
    WakeQueue<int> queue(100000);
    std::thread producer([&] {
      for (int i = 0; i < 20000; ++i) ASSERT_TRUE(queue.TryPush(i, i % 7 == 0 || i == 19999));
    });
    int next = 0;
    while (next < 20000) {
      for (const int i : queue.PopAll(kLong, spin)) ASSERT_EQ(i, next++);
    }
    producer.join();
  }
}

TEST(AbortHookTest, FiresOnceWithTheFirstReason) {
  AbortHook hook;
  std::vector<absl::Status> calls;
  hook.Set([&](const absl::Status& why) { calls.push_back(why); });
  hook.Fire(absl::AbortedError("a"));
  hook.Fire(absl::AbortedError("b"));
  EXPECT_THAT(calls, ElementsAre(absl::AbortedError("a")));
  hook.Set([&](const absl::Status& why) { calls.push_back(why); });  // too late: at once
  EXPECT_THAT(calls, ElementsAre(absl::AbortedError("a"), absl::AbortedError("a")));
}

TEST(AbortHookTest, ClearedIsNotCalled) {
  AbortHook hook;
  hook.Set([](const absl::Status&) { FAIL(); });
  hook.Clear();
  hook.Fire(absl::AbortedError("a"));
}

TEST(ExchangeClientTest, RoundsCountUp) {
  std::vector<wire::ExchangeBlob> sent;
  ExchangeClient* self = nullptr;
  ExchangeClient client(
      [&](const wire::FromWorker& message) {
        sent.push_back(std::get<wire::ExchangeBlob>(message));
        self->Answer({Epoch(8), sent.back().round, {"of another epoch"}});
        self->Answer({Epoch(9), sent.back().round + 1, {"of another round"}});
        self->Answer({Epoch(9), sent.back().round, {sent.back().blob, "other"}});
        return true;
      },
      kLong);
  self = &client;
  client.BeginEpoch(Epoch(9));
  EXPECT_THAT(*client.Exchange("x"), ElementsAre("x", "other"));
  EXPECT_THAT(*client.Exchange("y"), ElementsAre("y", "other"));
  EXPECT_EQ(sent[1].round, 1u);
}

TEST(ExchangeClientTest, EndsByDeadlineAbortAndLoss) {
  bool connected = true;
  ExchangeClient client([&](const wire::FromWorker&) { return connected; }, absl::Milliseconds(1));
  EXPECT_EQ(client.Exchange("x").status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(client.Exchange(std::string(wire::kMaxExchangeBytes + 1, 'x')).status().code(),
            absl::StatusCode::kInvalidArgument);
  connected = false;
  EXPECT_EQ(client.Exchange("x").status().code(), absl::StatusCode::kUnavailable);
  client.Abort(absl::AbortedError("why"));
  EXPECT_EQ(client.Exchange("x").status(), absl::AbortedError("why"));
}

}  // namespace
}  // namespace pamir::worker
