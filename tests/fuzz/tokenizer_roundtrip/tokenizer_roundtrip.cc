// Any text: encoded and decoded it is the same, whole and token by token; bytes that are not UTF-8
// are refused, and a decoder that is fed bytes one by one repairs them as Decode does. The part of
// the input behind the first zero byte is a stop string.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "core/text/bpe_tokenizer.h"
#include "core/text/byte_tokenizer.h"
#include "fuzz/base_vocab.h"

namespace {

using pamir::TokenId;
using pamir::flow::Text;

void Require(bool condition) {
  if (!condition) std::abort();
}

constexpr TokenId kFirstByteId = 4;

// A small vocabulary with merges that text of a few letters meets often.
std::unique_ptr<Text> MakeSmallTokenizer() {
  const std::string vocab = pamir::text::VocabJsonWith(
      R"("aa":260,"ab":261,"aab":262,"\u0120a":263,"\u0120ab":264,"\u00c3\u00a9":265,"11":266)");
  auto text = pamir::text::MakeTokenizer(
      vocab, "a b\na a\na ab\n\xC4\xA0 a\n\xC4\xA0 ab\n\xC3\x83 \xC2\xA9\n1 1\n");
  Require(text.ok());
  return *std::move(text);
}

std::string Stream(const Text& text, const std::vector<TokenId>& ids, const std::string& stop,
                   bool* stopped) {
  const auto decoder = text.NewDecoder({stop});
  std::string out;
  for (TokenId id : ids) {
    const auto piece = decoder->Feed(id);
    Require(pamir::ValidateUtf8(piece.bytes).ok());
    out += piece.bytes;
    *stopped = piece.stopped;
  }
  return out + decoder->Flush();
}

void CheckStreaming(const Text& text, const std::vector<TokenId>& ids, const std::string& whole,
                    const std::string& stop) {
  bool stopped = false;
  Require(Stream(text, ids, "", &stopped) == whole && !stopped);
  const std::string cut = Stream(text, ids, stop, &stopped);
  const size_t found = stop.empty() ? std::string::npos : whole.find(stop);
  Require(cut == whole.substr(0, found));
  // A stop string that ends in the U+FFFD of an unfinished character is seen only by the Flush.
  Require(!stopped || found != std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Text* const small = MakeSmallTokenizer().release();
  static const Text* const bytes = pamir::text::MakeByteTokenizer().release();
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::string text = input.substr(0, input.find('\0'));
  std::string stop = text.size() < size ? input.substr(text.size() + 1) : "";
  if (!pamir::ValidateUtf8(stop).ok()) stop.clear();

  const auto ids = small->Encode(text);
  Require(ids.ok() == pamir::ValidateUtf8(text).ok());
  if (ids.ok()) {
    const auto decoded = small->Decode(*ids, true);
    Require(decoded.ok() && *decoded == text);
    CheckStreaming(*small, *ids, text, stop);
  }
  std::vector<TokenId> byte_ids;
  for (char byte : text) byte_ids.push_back(kFirstByteId + static_cast<uint8_t>(byte));
  const auto repaired = bytes->Decode(byte_ids, true);
  Require(repaired.ok());
  CheckStreaming(*bytes, byte_ids, *repaired, stop);
  return 0;
}
