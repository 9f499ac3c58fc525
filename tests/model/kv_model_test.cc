// The block ledger against a dull model: a set of free blocks.
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

#include "core/kv/block_ledger.h"
#include "model/seeds.h"

namespace pamir::kv {
namespace {

class KvModel {
 public:
  explicit KvModel(uint64_t seed)
      : random_(seed), total_(random_.Between(1, 40)), ledger_(total_, random_.Between(1, 16)) {
    for (int32_t b = 0; b < total_; ++b) free_.insert(b);
  }

  void Operate() {
    if (!tables_.empty() && random_.OneIn(3)) {
      Return();
    } else {
      Take();
    }
    ASSERT_EQ(ledger_.free(), static_cast<int32_t>(free_.size()));
    ASSERT_EQ(ledger_.total(), total_);
  }

  void ReturnAll() {
    while (!tables_.empty()) Return();
    ASSERT_EQ(ledger_.free(), total_);
  }

 private:
  void Take() {
    if (tables_.empty() || random_.OneIn(3)) tables_.emplace_back();
    std::vector<BlockId>& table = tables_[random_.Between(0, tables_.size() - 1)];
    const std::vector<BlockId> before = table;
    const int32_t count = random_.Between(0, 8);
    const bool fits = count <= static_cast<int32_t>(free_.size());
    ASSERT_EQ(ledger_.Take(count, &table), fits);
    ASSERT_EQ(table.size(), before.size() + (fits ? count : 0));
    ASSERT_TRUE(std::equal(before.begin(), before.end(), table.begin()));
    for (size_t i = before.size(); i < table.size(); ++i) {
      ASSERT_EQ(free_.erase(table[i].value), 1u) << "block " << table[i].value << " was not free";
    }
  }

  void Return() {
    const size_t i = random_.Between(0, tables_.size() - 1);
    for (const BlockId block : tables_[i]) free_.insert(block.value);
    ledger_.Return(&tables_[i]);
    ASSERT_TRUE(tables_[i].empty());
    tables_.erase(tables_.begin() + i);
  }

  testing::Random random_;
  const int32_t total_;
  BlockLedger ledger_;
  std::set<int32_t> free_;
  std::vector<std::vector<BlockId>> tables_;
};

TEST(KvModel, EachBlockIsOwnedOnceOrFree) {
  for (const uint64_t seed : testing::Seeds(200)) {
    SCOPED_TRACE(::testing::Message() << "PAMIR_SEED=" << seed);
    KvModel model(seed);
    for (int i = 0; i < 300; ++i) {
      model.Operate();
      if (::testing::Test::HasFatalFailure()) return;
    }
    model.ReturnAll();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace pamir::kv
