// Which blocks of the paged KV pool are taken. Integers only: the bytes live on the ranks, and
// block b is the same block on every rank. Not thread-safe.
#ifndef PAMIR_CORE_KV_BLOCK_LEDGER_H_
#define PAMIR_CORE_KV_BLOCK_LEDGER_H_

#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "base/units.h"

namespace pamir::kv {

// Blocks that hold `positions` positions.
constexpr int32_t BlocksFor(int32_t positions, int32_t block_size) {
  return static_cast<int32_t>(CeilDiv(positions, block_size));
}

class BlockLedger {
 public:
  // Both at least 1 (CHECK).
  BlockLedger(int32_t num_blocks, int32_t block_size);

  // Appends `count` (>= 0) free blocks to `table` and returns true, or changes nothing and returns
  // false where fewer are free.
  [[nodiscard]] bool Take(int32_t count, std::vector<BlockId>* table);

  // Gives all blocks of `table` back and empties it. CHECK: each is taken.
  void Return(std::vector<BlockId>* table);

  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t total() const { return static_cast<int32_t>(taken_.size()); }
  int32_t block_size() const { return block_size_; }

  // Blocks that hold `positions` positions.
  int32_t BlocksFor(int32_t positions) const { return kv::BlocksFor(positions, block_size_); }
  // Positions that the whole pool holds.
  int64_t capacity() const { return int64_t{total()} * block_size_; }

 private:
  const int32_t block_size_;
  std::vector<BlockId> free_;   // a stack: the block given back last is taken first (warm caches)
  std::vector<uint8_t> taken_;  // by block
};

}  // namespace pamir::kv

#endif  // PAMIR_CORE_KV_BLOCK_LEDGER_H_
