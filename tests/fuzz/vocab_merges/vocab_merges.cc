// Any bytes as vocab.json and merges.txt (divided by the first zero byte): a tokenizer or an error
// that says something, never more. What is accepted must work.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/text/bpe_tokenizer.h"
#include "fuzz/base_vocab.h"

using pamir::text::MakeTokenizer;

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void TryTokenizer(const std::string& vocab, const std::string& merges) {
  const auto text = MakeTokenizer(vocab, merges);
  if (!text.ok()) {
    Require(!text.status().message().empty());
    return;
  }
  const std::string sample = "abcab  aaaa 123 \xC3\xA9 </s>";
  const auto ids = (*text)->Encode(sample);
  Require(ids.ok());
  const auto decoded = (*text)->Decode(*ids, true);
  Require(decoded.ok() && *decoded == sample);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\0');
  const std::string vocab = input.substr(0, cut);
  const std::string merges = cut == std::string::npos ? "" : input.substr(cut + 1);
  TryTokenizer(vocab, merges);
  // So that inputs need not find the 260 entries that every vocabulary must have.
  TryTokenizer(pamir::text::VocabJsonWith(vocab), merges);
  return 0;
}
