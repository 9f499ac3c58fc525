// A tokenizer that needs no files, for models with dummy weights.
#ifndef PAMIR_CORE_TEXT_BYTE_TOKENIZER_H_
#define PAMIR_CORE_TEXT_BYTE_TOKENIZER_H_

#include <memory>

#include "core/flow/ports.h"

namespace pamir::text {

// Ids 0 .. 3 are <s>, <pad>, </s>, <unk>; byte b is id 4 + b. bos is 2, as in OPT. Limits and
// errors are those of MakeTokenizer's (bpe_tokenizer.h). A model with a larger vocabulary may
// sample ids beyond 259: they give no text.
std::unique_ptr<flow::Text> MakeByteTokenizer();

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_BYTE_TOKENIZER_H_
