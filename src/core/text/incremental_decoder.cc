#include "core/text/incremental_decoder.h"

#include <utility>

namespace pamir::text {

IncrementalDecoder::IncrementalDecoder(std::shared_ptr<const TokenTable> table,
                                       const std::vector<std::string>& stops)
    : table_(std::move(table)), stops_(stops) {}

flow::TextDecoder::Piece IncrementalDecoder::Feed(TokenId token) {
  Piece piece;
  piece.stopped = stops_.stopped();
  if (piece.stopped || !table_->Contains(token)) return piece;
  const TokenTable::Entry& entry = table_->entries[static_cast<size_t>(token)];
  if (entry.special) return piece;
  std::string characters;
  repairer_.Push(entry.bytes, &characters);
  piece.stopped = stops_.Push(characters, &piece.bytes);
  return piece;
}

std::string IncrementalDecoder::Flush() {
  std::string text;
  if (stops_.stopped()) return text;
  std::string characters;
  repairer_.Finish(&characters);
  stops_.Push(characters, &text);
  stops_.Finish(&text);
  return text;
}

}  // namespace pamir::text
