#include "base/thread_pool.h"

#include <atomic>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace pamir {
namespace {

TEST(ThreadPool, RunsEveryPartOnce) {
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int parts : {0, 1, 2, 3, 4, 7, 64}) {
      std::vector<std::atomic<int>> runs(parts);
      pool.ParallelFor(parts, [&](int part) { runs[part].fetch_add(1); });
      for (const auto& count : runs) EXPECT_EQ(count.load(), 1) << threads << " " << parts;
    }
  }
}

TEST(ThreadPool, PartsBelongToThreadsByTheirNumber) {
  constexpr int kThreads = 3, kParts = 30;
  ThreadPool pool(kThreads);
  std::vector<std::thread::id> who(kParts);
  pool.ParallelFor(kParts, [&](int part) { who[part] = std::this_thread::get_id(); });
  for (int part = 0; part < kParts; ++part) {
    EXPECT_EQ(who[part], who[part % kThreads]);
  }
  EXPECT_EQ(who[0], std::this_thread::get_id()) << "the caller takes part";
  EXPECT_NE(who[0], who[1]);
  EXPECT_NE(who[1], who[2]);
}

// What one loop writes the next one reads, on other threads, without any other synchronisation.
void Pass(ThreadPool& pool, int loops) {
  constexpr int kParts = 6;
  std::vector<int64_t> values(kParts, 1);
  for (int loop = 0; loop < loops; ++loop) {
    std::vector<int64_t> next(kParts);
    pool.ParallelFor(kParts, [&](int part) { next[part] = values[(part + 1) % kParts] + 1; });
    values = next;
  }
  for (const int64_t value : values) EXPECT_EQ(value, loops + 1);
}

TEST(ThreadPool, ManyShortLoopsSeeEachOther) {
  ThreadPool pool(2);
  Pass(pool, 20000);
}

// No spinning: helpers park after every loop, so waking is what is tested.
TEST(ThreadPool, ParkedHelpersWake) {
  ThreadPool pool(3, absl::ZeroDuration());
  Pass(pool, 3000);
}

TEST(ThreadPool, ManyMoreThreadsThanCores) {
  ThreadPool pool(16);
  Pass(pool, 200);
}

TEST(ThreadPool, MayBeDestroyedAtAnyTime) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(1 + i % 4, i % 2 == 0 ? absl::ZeroDuration() : absl::Microseconds(50));
    std::atomic<int> sum{0};
    for (int loop = 0; loop < i % 3; ++loop) {
      pool.ParallelFor(5, [&](int part) { sum.fetch_add(part); });
    }
    EXPECT_EQ(sum.load(), 10 * (i % 3));
  }
}

// Two pools side by side, each driven by its own thread, as two ranks in one process have.
TEST(ThreadPool, PoolsDoNotDisturbEachOther) {
  std::thread other([] {
    ThreadPool pool(2);
    Pass(pool, 2000);
  });
  ThreadPool pool(2);
  Pass(pool, 2000);
  other.join();
}

}  // namespace
}  // namespace pamir
