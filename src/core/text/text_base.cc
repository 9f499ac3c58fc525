#include "core/text/text_base.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "core/text/incremental_decoder.h"
#include "pamir/limits.h"

namespace pamir::text {

TextBase::TextBase(TokenTable table, TokenId bos)
    : table_(std::make_shared<const TokenTable>(std::move(table))), bos_(bos) {}

absl::StatusOr<std::vector<TokenId>> TextBase::Encode(const std::string& text) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the text has ", text.size(), " bytes; at most ",
                                                   kMaxTextBytes, " are taken"));
  }
  PAMIR_RETURN_IF_ERROR(ValidateUtf8(text));
  return EncodeValid(text);
}

absl::StatusOr<std::string> TextBase::Decode(const std::vector<TokenId>& ids,
                                             bool skip_special) const {
  if (ids.size() > kMaxTokenIds) {
    return absl::InvalidArgumentError(
        absl::StrCat(ids.size(), " token ids; at most ", kMaxTokenIds, " are taken"));
  }
  return DecodeIds(*table_, ids, skip_special);
}

std::unique_ptr<flow::TextDecoder> TextBase::NewDecoder(std::vector<std::string> stop) const {
  return std::make_unique<IncrementalDecoder>(table_, stop);
}

}  // namespace pamir::text
