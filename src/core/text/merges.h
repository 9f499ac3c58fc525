// merges.txt: one merge a line, "left right", the earlier the more urgent.
#ifndef PAMIR_CORE_TEXT_MERGES_H_
#define PAMIR_CORE_TEXT_MERGES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/ids.h"
#include "core/text/vocab.h"

namespace pamir::text {

inline constexpr size_t kMaxMergesBytes = 32 << 20;
inline constexpr size_t kMaxMerges = 1 << 20;

struct Merge {
  TokenId left = 0, right = 0, result = 0;
  friend bool operator==(const Merge&, const Merge&) = default;
};

// The merges in order of rank. A first line "#version: ..." is no merge. Refuses, naming the line,
// with INVALID_ARGUMENT: lines that are not two tokens with one space between, tokens that the
// vocabulary lacks, a pair that is there twice.
absl::StatusOr<std::vector<Merge>> ParseMerges(const std::string& merges_txt, const Vocab& vocab);

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_MERGES_H_
