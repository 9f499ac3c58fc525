// Byte-pair merging of one word.
#ifndef PAMIR_CORE_TEXT_BPE_H_
#define PAMIR_CORE_TEXT_BPE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/ids.h"
#include "core/text/merges.h"

namespace pamir::text {

// Merges neighbours in order of rank, the leftmost first among equals, until none can be merged
// (Sennrich et al. 2016; the order is that of Hugging Face's tokenizers). O(n log n) in the length
// of the word: each merge joins two symbols of a linked list, and a heap names the next.
// Immutable and thread-safe; the working memory is the caller's.
class Bpe {
 public:
  explicit Bpe(std::vector<Merge> merges);

  // Reused from word to word, so that a word allocates nothing.
  class Workspace {
    friend class Bpe;
    struct Symbol {
      TokenId id = 0;  // kGone: merged into the symbol on its left
      int32_t previous = 0, next = 0;
    };
    std::vector<Symbol> symbols_;
    std::vector<uint64_t> heap_;  // rank << 32 | index of the left symbol; the smallest first
  };

  // Replaces `symbols`[from .. end), the tokens of a word's bytes, by what merging leaves of them.
  // At most kMaxTextBytes symbols.
  void MergeTail(size_t from, std::vector<TokenId>* symbols, Workspace* workspace) const;

 private:
  void PushCandidate(int32_t left, Workspace* workspace) const;
  void MergeAt(int32_t left, const Merge& merge, Workspace* workspace) const;

  std::vector<Merge> merges_;                                         // [rank]
  absl::flat_hash_map<std::pair<TokenId, TokenId>, uint32_t> ranks_;  // (left, right) -> rank
};

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_BPE_H_
