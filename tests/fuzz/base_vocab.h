// The entries that every vocab.json must have, for fuzz targets that add their own behind them.
#ifndef PAMIR_TESTS_FUZZ_BASE_VOCAB_H_
#define PAMIR_TESTS_FUZZ_BASE_VOCAB_H_

#include <string>

#include "core/text/byte_alphabet.h"

namespace pamir::text {

inline constexpr int kBaseEntries = 260;  // ids 0 .. 259: four special tokens, 256 bytes

// `more` is empty or further entries, as JSON: "ab":260,"abc":261
inline std::string VocabJsonWith(const std::string& more) {
  std::string json = R"({"<s>":0,"<pad>":1,"</s>":2,"<unk>":3)";
  int id = 4;
  for (const std::string& character : ByteAlphabet()) {
    const bool escape = character == "\"" || character == "\\";
    json += std::string(",\"") + (escape ? "\\" : "") + character + "\":" + std::to_string(id++);
  }
  return json + (more.empty() ? "" : "," + more) + "}";
}

}  // namespace pamir::text

#endif  // PAMIR_TESTS_FUZZ_BASE_VOCAB_H_
