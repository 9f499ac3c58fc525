#include "core/text/quote.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/utf8.h"

namespace pamir::text {
namespace {

constexpr size_t kMaxQuotedBytes = 80;

}  // namespace

std::string Quote(const std::string& text) {
  const bool cut = text.size() > kMaxQuotedBytes;
  const std::string shown = text.substr(0, kMaxQuotedBytes);
  const std::string escaped =
      ValidateUtf8(shown).ok() ? absl::Utf8SafeCHexEscape(shown) : absl::CHexEscape(shown);
  return absl::StrCat("\"", escaped, cut ? "\"..." : "\"");
}

}  // namespace pamir::text
