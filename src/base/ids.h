// Named integers: a slot cannot be passed where a block is meant.
#ifndef PAMIR_BASE_IDS_H_
#define PAMIR_BASE_IDS_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace pamir {

template <typename Tag, typename Rep>
struct StrongId {
  using rep_type = Rep;
  Rep value = 0;

  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep v) : value(v) {}
  friend constexpr auto operator<=>(StrongId, StrongId) = default;
  template <typename H>
  friend H AbslHashValue(H h, StrongId id) {
    return H::combine(std::move(h), id.value);
  }
};

using SlotId = StrongId<struct SlotTag, int32_t>;  // one running choice, 0 .. max_num_seqs - 1
using BlockId =
    StrongId<struct BlockTag, int32_t>;             // one block of the paged KV pool, on every rank
using SeqId = StrongId<struct SeqTag, uint64_t>;    // one request, unique in a coordinator's life
using Epoch = StrongId<struct EpochTag, uint64_t>;  // one membership of ranks; grows by one
using StepId = StrongId<struct StepTag, uint64_t>;  // one step within an epoch; grows by one

using TokenId = int32_t;

}  // namespace pamir

template <typename Tag, typename Rep>
struct std::hash<pamir::StrongId<Tag, Rep>> {
  size_t operator()(pamir::StrongId<Tag, Rep> id) const noexcept {
    return std::hash<Rep>()(id.value);
  }
};

#endif  // PAMIR_BASE_IDS_H_
