// Hop 9: bytes for the client. Made by text, moved once into the door's stream.
#ifndef PAMIR_CORE_FLOW_TEXT_CHUNK_H_
#define PAMIR_CORE_FLOW_TEXT_CHUNK_H_

#include <string>
#include <vector>

#include "base/ids.h"
#include "pamir/sampling.h"

namespace pamir::flow {

// What became certain with one or more tokens: bytes may be empty (half a character, a possible
// beginning of a stop string) and may belong to earlier tokens. Always whole UTF-8 characters.
struct TextChunk {
  SeqId id;
  int32_t choice = 0;
  int32_t index = 0;  // of the first token in `tokens`
  std::string bytes;
  std::vector<TokenId> tokens;  // those new with this chunk
  std::vector<float> logprobs;  // one a token
  FinishReason finish = FinishReason::kNone;
};

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_TEXT_CHUNK_H_
