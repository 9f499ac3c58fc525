#ifndef PAMIR_CORE_TEXT_TEXT_BASE_H_
#define PAMIR_CORE_TEXT_TEXT_BASE_H_

#include <memory>
#include <string>
#include <vector>

#include "core/flow/ports.h"
#include "core/text/token_table.h"

namespace pamir::text {

// What all tokenizers share: limits, and the way from ids to text. Immutable and thread-safe.
class TextBase : public flow::Text {
 public:
  TextBase(TokenTable table, TokenId bos);

  // Checks the text, then lets the tokenizer do its part.
  absl::StatusOr<std::vector<TokenId>> Encode(const std::string& text) const final;
  absl::StatusOr<std::string> Decode(const std::vector<TokenId>& ids,
                                     bool skip_special) const final;
  // The decoder may outlive this.
  std::unique_ptr<flow::TextDecoder> NewDecoder(std::vector<std::string> stop) const final;
  int32_t vocab_size() const final { return static_cast<int32_t>(table_->entries.size()); }
  TokenId bos() const final { return bos_; }

 private:
  // `text` is valid UTF-8 of at most kMaxTextBytes.
  virtual std::vector<TokenId> EncodeValid(const std::string& text) const = 0;

  const std::shared_ptr<const TokenTable> table_;
  const TokenId bos_;
};

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_TEXT_BASE_H_
