// What the tests of this room share.
#ifndef PAMIR_TESTS_UNIT_TEXT_TEXT_TESTING_H_
#define PAMIR_TESTS_UNIT_TEXT_TEXT_TESTING_H_

#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#include "base/utf8.h"
#include "core/text/bpe_tokenizer.h"
#include "gtest/gtest.h"

namespace pamir::text {

inline std::string ReadFile(const std::string& path) {
  const std::string full = std::string(PAMIR_SOURCE_DIR) + "/" + path;
  std::ifstream in(full, std::ios::binary);
  EXPECT_TRUE(in.good()) << full;
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::unique_ptr<flow::Text> LoadTokenizer(const std::string& folder) {
  auto text = MakeTokenizer(ReadFile(folder + "/vocab.json"), ReadFile(folder + "/merges.txt"));
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *std::move(text) : nullptr;
}

// A new seed for each run; a failing run prints it.
inline uint32_t NewSeed() { return std::random_device{}(); }

// `length` characters, valid UTF-8, from all planes but with much ASCII and white space.
inline std::string RandomText(std::mt19937* rng, size_t length) {
  static constexpr char32_t kNotable[] = {' ',     '\n',     '\'',  0xA0,   0x2003,  0x3000, 0x7F,
                                          0x80,    0x7FF,    0x800, 0xD7FF, 0xE000,  0xFFFD, 0xFFFF,
                                          0x10000, 0x10FFFF, 0xBD,  0x2177, 0x1F642, 0x200D, 0x301};
  const auto below = [rng](uint32_t n) { return static_cast<uint32_t>((*rng)() % n); };
  std::string text;
  for (size_t i = 0; i < length; ++i) {
    char32_t c = 0;
    switch (below(4)) {
      case 0:
        c = below(0x80);
        break;
      case 1:
        c = 'a' + below(26);
        break;
      case 2:
        c = kNotable[below(std::size(kNotable))];
        break;
      default:
        c = below(0x110000);
    }
    if (c >= 0xD800 && c < 0xE000) c = 'x';
    AppendUtf8(c, &text);
  }
  return text;
}

inline std::string RandomBytes(std::mt19937* rng, size_t length) {
  std::string bytes;
  for (size_t i = 0; i < length; ++i) bytes.push_back(static_cast<char>((*rng)()));
  return bytes;
}

}  // namespace pamir::text

#endif  // PAMIR_TESTS_UNIT_TEXT_TEXT_TESTING_H_
