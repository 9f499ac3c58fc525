#include "core/text/token_table.h"

#include "absl/strings/str_cat.h"
#include "base/utf8.h"

namespace pamir::text {

absl::StatusOr<std::string> DecodeIds(const TokenTable& table, const std::vector<TokenId>& ids,
                                      bool skip_special) {
  std::string text;
  Utf8Repairer repairer;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!table.Contains(ids[i])) {
      return absl::InvalidArgumentError(absl::StrCat("token id ", ids[i], " at index ", i,
                                                     " is out of range: ids are 0 to ",
                                                     table.entries.size() - 1));
    }
    const TokenTable::Entry& entry = table.entries[static_cast<size_t>(ids[i])];
    if (entry.special && skip_special) continue;
    repairer.Push(entry.bytes, &text);
    if (text.size() > kMaxDecodedBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the text of ", ids.size(), " tokens is longer than ", kMaxDecodedBytes, " bytes"));
    }
  }
  repairer.Finish(&text);
  return text;
}

}  // namespace pamir::text
