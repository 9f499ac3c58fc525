// vocab.json: one JSON object, token (in the byte alphabet) to id.
#ifndef PAMIR_CORE_TEXT_VOCAB_H_
#define PAMIR_CORE_TEXT_VOCAB_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/ids.h"

namespace pamir::text {

inline constexpr size_t kMaxVocabJsonBytes = 32 << 20;
inline constexpr size_t kMaxVocabEntries = 1 << 20;
inline constexpr size_t kMaxTokenBytes = 1024;  // as written in vocab.json

struct Vocab {
  std::vector<std::string> tokens;  // [id], as written in vocab.json
  absl::flat_hash_map<std::string, TokenId> ids;

  // -1: not in the vocabulary.
  TokenId Find(const std::string& token) const;
};

// Refuses, naming the entry, with INVALID_ARGUMENT: malformed JSON, values that are not whole
// numbers, a token or an id that is there twice, and ids that are not 0 .. entries - 1.
absl::StatusOr<Vocab> ParseVocab(const std::string& vocab_json);

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_VOCAB_H_
