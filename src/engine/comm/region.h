// The memory that the ranks of one host share, and its layout:
//
//   RegionHeader
//   RankLines [size]             doorbell, step counter, state of each rank
//   RingLines [size][size]       counters of the ring from rank i to rank j
//   slots     [size][2]          SlotHeader + slot_bytes: a rank's part in a collective; two, so
//   that
//                                a fast rank writes the next step while others still read this one
//   rings     [size][size]       ring_bytes: messages from rank i to rank j
//
// All offsets follow from the shape. Counters and states are atomics on lines of their own; the
// rest is plain memory that they guard.
#ifndef PAMIR_ENGINE_COMM_REGION_H_
#define PAMIR_ENGINE_COMM_REGION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "engine/comm/wait.h"

namespace pamir::comm {

inline constexpr int kMaxRegionRanks = 64;
inline constexpr int64_t kMaxSlotBytes = 128 * 1024;
inline constexpr int64_t kMinRingBytes = 16 * 1024;
inline constexpr int64_t kMaxRingBytes = 256 * 1024;
inline constexpr int64_t kAllRingsBytes = 16 * 1024 * 1024;  // aimed at, above the minimum

struct RegionShape {
  int size = 0;
  int64_t slot_bytes = 0;  // multiple of 64
  int64_t ring_bytes = 0;  // multiple of 64
  friend bool operator==(const RegionShape&, const RegionShape&) = default;
};

// The same on every rank. Messages larger than a slot or a ring stream through it in pieces.
RegionShape ShapeFor(int size, int64_t max_message_bytes);
size_t RegionBytes(const RegionShape& shape);

enum class RankState : uint32_t { kRunning, kLeft, kFailed };

inline constexpr size_t kReasonBytes = 248;

struct RankLines {
  Doorbell bell;
  // The step of the collectives that this rank has published. Step k says: my slot k % 2 is
  // written, and I have finished reading all slots of step k - 1.
  alignas(64) std::atomic<uint64_t> step{0};
  alignas(64) std::atomic<RankState> state{RankState::kRunning};
  char reason[kReasonBytes] = {};  // written once, before state becomes kFailed
};

// Bytes ever written into and read from a ring.
struct RingLines {
  alignas(64) std::atomic<uint64_t> written{0};
  alignas(64) std::atomic<uint64_t> read{0};
};

// In front of each slot: what its rank came to do.
struct alignas(64) SlotHeader {
  uint32_t operation = 0;
  int64_t bytes = 0;
};

// A view of the region. The owner keeps the memory (a heap block, a mapping) alive.
class Region {
 public:
  // `base` is 64-byte aligned, zero-filled, RegionBytes(shape) long. Once, by one rank, before
  // the others see it.
  static Region Create(std::shared_ptr<void> base, const RegionShape& shape);
  // INVALID_ARGUMENT if what lies at `base` was not made by Create with this shape.
  static absl::Status Check(const void* base, const RegionShape& shape);
  Region(std::shared_ptr<void> base, const RegionShape& shape);

  const RegionShape& shape() const { return shape_; }
  RankLines& rank(int r) const { return ranks_[r]; }
  RingLines& ring(int from, int to) const { return rings_[from * shape_.size + to]; }
  SlotHeader& slot_header(int r, uint64_t step) const {
    return *reinterpret_cast<SlotHeader*>(SlotAt(r, step));
  }
  char* slot(int r, uint64_t step) const { return SlotAt(r, step) + sizeof(SlotHeader); }
  char* ring_data(int from, int to) const {
    return ring_data_ + (from * shape_.size + to) * shape_.ring_bytes;
  }

 private:
  char* SlotAt(int r, uint64_t step) const {
    const int64_t stride = static_cast<int64_t>(sizeof(SlotHeader)) + shape_.slot_bytes;
    return slots_ + (2 * r + static_cast<int>(step % 2)) * stride;
  }

  std::shared_ptr<void> memory_;
  RegionShape shape_;
  RankLines* ranks_;
  RingLines* rings_;
  char* slots_;
  char* ring_data_;
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_REGION_H_
