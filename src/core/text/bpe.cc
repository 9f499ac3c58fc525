#include "core/text/bpe.h"

#include <algorithm>
#include <functional>

namespace pamir::text {
namespace {

constexpr TokenId kGone = -1;
constexpr int32_t kNone = -1;  // no neighbour on this side

}  // namespace

Bpe::Bpe(std::vector<Merge> merges) : merges_(std::move(merges)) {
  ranks_.reserve(merges_.size());
  for (uint32_t rank = 0; rank < merges_.size(); ++rank) {
    ranks_.try_emplace({merges_[rank].left, merges_[rank].right}, rank);
  }
}

// Puts the pair (left, its next) on the heap if it can be merged.
void Bpe::PushCandidate(int32_t left, Workspace* workspace) const {
  if (left == kNone) return;
  const auto& symbols = workspace->symbols_;
  const int32_t right = symbols[left].next;
  if (right == kNone) return;
  const auto found = ranks_.find({symbols[left].id, symbols[right].id});
  if (found == ranks_.end()) return;
  workspace->heap_.push_back(uint64_t{found->second} << 32 | static_cast<uint32_t>(left));
  std::push_heap(workspace->heap_.begin(), workspace->heap_.end(), std::greater<>());
}

// Joins `left` and its next, if they still are the two that `merge` is about: a heap entry may be
// older than another merge that took one of them away.
void Bpe::MergeAt(int32_t left, const Merge& merge, Workspace* workspace) const {
  auto& symbols = workspace->symbols_;
  const int32_t right = symbols[left].next;
  if (symbols[left].id != merge.left || right == kNone || symbols[right].id != merge.right) return;
  symbols[left].id = merge.result;
  symbols[left].next = symbols[right].next;
  symbols[right].id = kGone;
  if (symbols[left].next != kNone) symbols[symbols[left].next].previous = left;
  PushCandidate(symbols[left].previous, workspace);
  PushCandidate(left, workspace);
}

void Bpe::MergeTail(size_t from, std::vector<TokenId>* symbols, Workspace* workspace) const {
  const int32_t count = static_cast<int32_t>(symbols->size() - from);
  if (count < 2) return;
  auto& list = workspace->symbols_;
  list.resize(count);
  for (int32_t i = 0; i < count; ++i) {
    list[i] = {(*symbols)[from + i], i - 1, i + 1 < count ? i + 1 : kNone};
  }
  auto& heap = workspace->heap_;
  heap.clear();
  for (int32_t i = 0; i + 1 < count; ++i) PushCandidate(i, workspace);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    MergeAt(static_cast<int32_t>(top & 0xFFFFFFFFu), merges_[top >> 32], workspace);
  }
  symbols->resize(from);
  for (int32_t i = 0; i != kNone; i = list[i].next) symbols->push_back(list[i].id);
}

}  // namespace pamir::text
