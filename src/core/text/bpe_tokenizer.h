// The tokenizer of OPT models: GPT-2's byte-level byte-pair encoding, with the ids of the model's
// own vocab.json (OPT numbers its tokens otherwise than GPT-2).
#ifndef PAMIR_CORE_TEXT_BPE_TOKENIZER_H_
#define PAMIR_CORE_TEXT_BPE_TOKENIZER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/ids.h"
#include "core/flow/ports.h"

namespace pamir::text {

struct TokenizerOptions {
  TokenId bos = 2;  // </s>
  // Never the result of encoding text that looks like them; silent in Decode with skip_special and
  // in a TextDecoder. The vocabulary must have them all.
  std::vector<std::string> special_tokens = {"<s>", "<pad>", "</s>", "<unk>"};
};

// Takes the text of the two files. Refuses with INVALID_ARGUMENT, naming the file and the entry:
// what ParseVocab (vocab.h) and ParseMerges (merges.h) refuse, a vocabulary without one of the 256
// byte tokens or a special token, a merge that makes a special token, a bos that is not in the
// vocabulary. The result's Encode takes at most kMaxTextBytes, its Decode at most kMaxTokenIds.
absl::StatusOr<std::unique_ptr<flow::Text>> MakeTokenizer(const std::string& vocab_json,
                                                          const std::string& merges_txt,
                                                          const TokenizerOptions& options = {});

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_BPE_TOKENIZER_H_
