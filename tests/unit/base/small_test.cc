// Units, the bounded queue, lines of a log, status macros, strong ids, invariants.
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/bounded_queue.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "gtest/gtest.h"

namespace pamir {
namespace {

TEST(SplitEvenly, CoversTheWholeInOrder) {
  for (int64_t size : {0, 1, 5, 16, 56, 97}) {
    for (int64_t parts : {1, 2, 3, 7, 16, 100}) {
      const Range whole{10, 10 + size};
      int64_t next = whole.begin;
      for (int64_t i = 0; i < parts; ++i) {
        const Range part = SplitEvenly(whole, parts, i);
        EXPECT_EQ(part.begin, next);
        EXPECT_GE(part.size(), size / parts);
        EXPECT_LE(part.size(), size / parts + (size % parts != 0));
        if (i > 0) {
          EXPECT_LE(part.size(), SplitEvenly(whole, parts, i - 1).size());
        }
        next = part.end;
      }
      EXPECT_EQ(next, whole.end);
    }
  }
}

TEST(Units, RoundUpAndHumanBytes) {
  EXPECT_EQ(CeilDiv(0, 16), 0);
  EXPECT_EQ(CeilDiv(17, 16), 2);
  EXPECT_EQ(RoundUp(17, 16), 32);
  EXPECT_EQ(RoundUp(32, 16), 32);
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.0 kB");
  EXPECT_EQ(HumanBytes(27'640'000), "27.6 MB");
  EXPECT_EQ(HumanBytes(999'949'999), "999.9 MB");
  EXPECT_EQ(HumanBytes(999'950'001), "1.0 GB") << "never 1000.0 MB";
  EXPECT_EQ(HumanBytes(349'200'000'000), "349.2 GB");
  EXPECT_EQ(HumanBytes(5'000'000'000'000'000), "5000.0 TB");
}

TEST(Range, KnowsWhatItContains) {
  constexpr Range range{3, 6};
  EXPECT_EQ(range.size(), 3);
  EXPECT_FALSE(range.contains(2));
  EXPECT_TRUE(range.contains(3));
  EXPECT_TRUE(range.contains(5));
  EXPECT_FALSE(range.contains(6));
}

TEST(BoundedQueue, RefusesWhenFullAndWhenClosed) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.Pop(absl::ZeroDuration()), 1);
  EXPECT_TRUE(queue.TryPush(4));
  queue.Close();
  EXPECT_TRUE(queue.closed());
  EXPECT_FALSE(queue.TryPush(5));
  EXPECT_EQ(queue.PopAll(absl::ZeroDuration()), (std::deque<int>{2, 4})) << "what is in comes out";
  EXPECT_EQ(queue.Pop(absl::InfiniteDuration()), std::nullopt) << "closed and empty never waits";
  EXPECT_TRUE(queue.PopAll(absl::InfiniteDuration()).empty());
}

TEST(BoundedQueue, EmptyPopGivesUpAtItsTimeout) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.Pop(absl::Milliseconds(1)), std::nullopt);
  EXPECT_TRUE(queue.PopAll(absl::Milliseconds(1)).empty());
}

TEST(BoundedQueue, CarriesEverythingBetweenThreadsInOrder) {
  constexpr int kItems = 20000;
  BoundedQueue<int> queue(8);
  std::thread producer([&] {
    for (int i = 0; i < kItems; ++i) {
      while (!queue.TryPush(i)) std::this_thread::yield();
    }
    queue.Close();
  });
  int next = 0;
  while (true) {
    const std::deque<int> items = queue.PopAll(absl::InfiniteDuration());
    if (items.empty()) break;
    EXPECT_LE(items.size(), 8u);
    for (const int item : items) EXPECT_EQ(item, next++);
  }
  producer.join();
  EXPECT_EQ(next, kItems);
}

TEST(EscapeForLog, LeavesNoControlBytes) {
  EXPECT_EQ(EscapeForLog("plain caf\xc3\xa9"), "plain caf\xc3\xa9");
  EXPECT_EQ(EscapeForLog("a\nb\tc\x1b[31m\x7f"), "a\\nb\\tc\\x1b[31m\\x7f");
  EXPECT_EQ(EscapeForLog(std::string("\0", 1)), "\\x00");
  EXPECT_EQ(EscapeForLog(std::string(600, 'x')).size(), 503u);
  EXPECT_EQ(EscapeForLog("abcdef", 4), "abcd...");
  EXPECT_EQ(EscapeForLog("abcd", 4), "abcd");
}

absl::StatusOr<int> Half(int x) {
  if (x % 2 != 0) return absl::InvalidArgumentError("odd");
  return x / 2;
}

absl::StatusOr<int> Quarter(int x) {
  PAMIR_ASSIGN_OR_RETURN(const int half, Half(x));
  PAMIR_RETURN_IF_ERROR(Half(half).status());
  return Half(half);
}

TEST(StatusMacros, ReturnTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(7).status().message(), "odd");
  EXPECT_EQ(Quarter(6).status().message(), "odd");
}

TEST(StrongId, ComparesAndHashesByValue) {
  EXPECT_LT(SlotId(1), SlotId(2));
  EXPECT_EQ(SlotId(), SlotId(0));
  EXPECT_EQ(std::hash<SeqId>()(SeqId(7)), std::hash<uint64_t>()(7));
}

TEST(FakeClock, MovesOnlyWhenTold) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(absl::Seconds(3));
  EXPECT_EQ(clock.Now() - start, absl::Seconds(3));
}

TEST(CheckDeathTest, NamesThePlaceAndTheReason) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const int blocks = -1;
  EXPECT_DEATH(PAMIR_CHECK(blocks >= 0, "blocks ran out"), "small_test.cc.*blocks >= 0.*ran out");
  PAMIR_CHECK(blocks < 0, "holds");
}

}  // namespace
}  // namespace pamir
