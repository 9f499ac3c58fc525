#include "core/kv/block_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pamir::kv {
namespace {

using ::testing::ElementsAre;

TEST(BlockLedger, GivesBlocksInOrderAndTakesThemBack) {
  BlockLedger ledger(4, 16);
  std::vector<BlockId> a, b;
  ASSERT_TRUE(ledger.Take(2, &a));
  ASSERT_TRUE(ledger.Take(1, &b));
  EXPECT_THAT(a, ElementsAre(BlockId(0), BlockId(1)));
  EXPECT_THAT(b, ElementsAre(BlockId(2)));
  EXPECT_EQ(ledger.free(), 1);
  ledger.Return(&a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(ledger.free(), 3);
  ASSERT_TRUE(ledger.Take(2, &b));  // at the end of the table
  EXPECT_THAT(b, ElementsAre(BlockId(2), BlockId(0), BlockId(1)));
}

TEST(BlockLedger, TakesAllOrNothing) {
  BlockLedger ledger(3, 16);
  std::vector<BlockId> table;
  EXPECT_FALSE(ledger.Take(4, &table));
  EXPECT_TRUE(table.empty());
  EXPECT_EQ(ledger.free(), 3);
  EXPECT_TRUE(ledger.Take(3, &table));
  EXPECT_FALSE(ledger.Take(1, &table));
  EXPECT_TRUE(ledger.Take(0, &table));
  EXPECT_EQ(table.size(), 3u);
}

TEST(BlockLedger, CountsBlocksForPositions) {
  const BlockLedger ledger(10, 16);
  EXPECT_EQ(ledger.BlocksFor(0), 0);
  EXPECT_EQ(ledger.BlocksFor(1), 1);
  EXPECT_EQ(ledger.BlocksFor(16), 1);
  EXPECT_EQ(ledger.BlocksFor(17), 2);
  EXPECT_EQ(ledger.capacity(), 160);
  EXPECT_EQ(ledger.total(), 10);
}

TEST(BlockLedgerDeathTest, BrokenUseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  BlockLedger ledger(2, 16);
  std::vector<BlockId> table;
  ASSERT_TRUE(ledger.Take(1, &table));
  std::vector<BlockId> twice = {table[0], table[0]}, unknown = {BlockId(2)},
                       negative = {BlockId(-1)};
  EXPECT_DEATH(ledger.Return(&twice), "block 0 given back, but it is not taken");
  EXPECT_DEATH(ledger.Return(&unknown), "block 2 given back");
  EXPECT_DEATH(ledger.Return(&negative), "block -1 given back");
  EXPECT_DEATH(BlockLedger(0, 16), "a KV pool of 0 blocks");
  EXPECT_DEATH(BlockLedger(4, 0), "blocks of 0 positions");
}

}  // namespace
}  // namespace pamir::kv
