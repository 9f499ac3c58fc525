#include "core/kv/block_ledger.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace pamir::kv {

BlockLedger::BlockLedger(int32_t num_blocks, int32_t block_size) : block_size_(block_size) {
  PAMIR_CHECK(num_blocks >= 1 && block_size >= 1,
              absl::StrCat("a KV pool of ", num_blocks, " blocks of ", block_size, " positions"));
  taken_.assign(num_blocks, 0);
  free_.reserve(num_blocks);
  // Pushed from the highest, so that a fresh pool gives 0, 1, 2, ...
  for (int32_t b = num_blocks - 1; b >= 0; --b) free_.push_back(BlockId(b));
}

bool BlockLedger::Take(int32_t count, std::vector<BlockId>* table) {
  PAMIR_CHECK(count >= 0, absl::StrCat("asked for ", count, " blocks"));
  if (count > free()) return false;
  for (int32_t i = 0; i < count; ++i) {
    const BlockId block = free_.back();
    free_.pop_back();
    taken_[block.value] = 1;
    table->push_back(block);
  }
  return true;
}

void BlockLedger::Return(std::vector<BlockId>* table) {
  // Backwards, so that the same blocks come out again in the same order.
  for (size_t i = table->size(); i-- > 0;) {
    const BlockId block = (*table)[i];
    PAMIR_CHECK(block.value >= 0 && block.value < total() && taken_[block.value],
                absl::StrCat("block ", block.value, " given back, but it is not taken"));
    taken_[block.value] = 0;
    free_.push_back(block);
  }
  table->clear();
}

}  // namespace pamir::kv
