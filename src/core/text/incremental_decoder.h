#ifndef PAMIR_CORE_TEXT_INCREMENTAL_DECODER_H_
#define PAMIR_CORE_TEXT_INCREMENTAL_DECODER_H_

#include <memory>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "core/flow/ports.h"
#include "core/text/stop_matcher.h"
#include "core/text/token_table.h"

namespace pamir::text {

// Tokens to text, one by one. Without stop strings all pieces and the Flush together are exactly
// DecodeIds(table, ids, skip_special = true). Special tokens and ids out of range give no text (an
// engine samples none; this must not fail in the middle of a stream). Not thread-safe.
class IncrementalDecoder : public flow::TextDecoder {
 public:
  IncrementalDecoder(std::shared_ptr<const TokenTable> table,
                     const std::vector<std::string>& stops);

  Piece Feed(TokenId token) override;
  // A stop string that is complete only now (its end is a U+FFFD) still cuts the text.
  std::string Flush() override;

 private:
  std::shared_ptr<const TokenTable> table_;
  Utf8Repairer repairer_;
  StopMatcher stops_;
};

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_INCREMENTAL_DECODER_H_
