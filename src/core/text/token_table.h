// What each id of a vocabulary says, and turning ids into text.
#ifndef PAMIR_CORE_TEXT_TOKEN_TABLE_H_
#define PAMIR_CORE_TEXT_TOKEN_TABLE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/ids.h"

namespace pamir::text {

inline constexpr size_t kMaxDecodedBytes = 16 << 20;

struct TokenTable {
  struct Entry {
    std::string bytes;     // may be a part of a character
    bool special = false;  // never made from text; silent where special tokens are skipped
  };
  std::vector<Entry> entries;  // [id]

  bool Contains(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < entries.size(); }
};

// The ids' bytes one after the other, what is not UTF-8 in them replaced by U+FFFD.
// INVALID_ARGUMENT: an id out of range, a text longer than kMaxDecodedBytes.
absl::StatusOr<std::string> DecodeIds(const TokenTable& table, const std::vector<TokenId>& ids,
                                      bool skip_special);

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_TOKEN_TABLE_H_
