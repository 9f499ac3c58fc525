#include "engine/comm/region.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/units.h"

namespace pamir::comm {
namespace {

constexpr uint64_t kMagic = 0x31'72'69'6d'61'50'00'01;  // "Pamir1" and the layout's version

struct alignas(64) RegionHeader {
  uint64_t magic = kMagic;
  RegionShape shape;
};

struct Offsets {
  size_t ranks, rings, slots, ring_data, end;
};

Offsets OffsetsOf(const RegionShape& shape) {
  const auto n = static_cast<size_t>(shape.size);
  Offsets at;
  at.ranks = sizeof(RegionHeader);
  at.rings = at.ranks + n * sizeof(RankLines);
  at.slots = at.rings + n * n * sizeof(RingLines);
  at.ring_data = at.slots + 2 * n * (sizeof(SlotHeader) + static_cast<size_t>(shape.slot_bytes));
  at.end = at.ring_data + n * n * static_cast<size_t>(shape.ring_bytes);
  return at;
}

}  // namespace

RegionShape ShapeFor(int size, int64_t max_message_bytes) {
  const int64_t message = RoundUp(std::clamp<int64_t>(max_message_bytes, 64, kMaxSlotBytes), 64);
  const int64_t fair = kAllRingsBytes / (int64_t{size} * size);
  return {size, message, RoundUp(std::clamp(fair, kMinRingBytes, kMaxRingBytes), 64)};
}

size_t RegionBytes(const RegionShape& shape) { return OffsetsOf(shape).end; }

Region::Region(std::shared_ptr<void> base, const RegionShape& shape)
    : memory_(std::move(base)), shape_(shape) {
  const Offsets at = OffsetsOf(shape);
  char* start = static_cast<char*>(memory_.get());
  ranks_ = reinterpret_cast<RankLines*>(start + at.ranks);
  rings_ = reinterpret_cast<RingLines*>(start + at.rings);
  slots_ = start + at.slots;
  ring_data_ = start + at.ring_data;
}

Region Region::Create(std::shared_ptr<void> base, const RegionShape& shape) {
  Region region(std::move(base), shape);
  for (int r = 0; r < shape.size; ++r) new (&region.rank(r)) RankLines();
  for (int i = 0; i < shape.size * shape.size; ++i) new (&region.rings_[i]) RingLines();
  for (int i = 0; i < 2 * shape.size; ++i) {
    new (&region.slot_header(i / 2, static_cast<uint64_t>(i % 2))) SlotHeader();
  }
  new (region.memory_.get()) RegionHeader{kMagic, shape};
  return region;
}

absl::Status Region::Check(const void* base, const RegionShape& shape) {
  const auto* header = static_cast<const RegionHeader*>(base);
  if (header->magic == kMagic && header->shape == shape) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the shared memory that the group's first rank made has another layout: all ranks must run "
      "the same build with the same limits");
}

}  // namespace pamir::comm
