#include "core/text/byte_alphabet.h"

#include <string_view>

#include "base/utf8.h"

namespace pamir::text {
namespace {

constexpr int kAlphabetEnd = 0x100 + 68;  // one past the last character of the alphabet

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// [byte]: the code point.
constexpr std::array<uint16_t, 256> kCodePoints = [] {
  std::array<uint16_t, 256> code_points{};
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    code_points[byte] = static_cast<uint16_t>(StandsForItself(byte) ? byte : next++);
  }
  return code_points;
}();

// [code point]: the byte, -1 for characters outside the alphabet.
constexpr std::array<int16_t, kAlphabetEnd> kBytes = [] {
  std::array<int16_t, kAlphabetEnd> bytes{};
  for (int16_t& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kCodePoints[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

}  // namespace

std::array<std::string, 256> ByteAlphabet() {
  std::array<std::string, 256> alphabet;
  for (int byte = 0; byte < 256; ++byte) AppendUtf8(kCodePoints[byte], &alphabet[byte]);
  return alphabet;
}

std::string BytesOfToken(const std::string& token) {
  std::string bytes;
  for (std::string_view rest = token; !rest.empty();) {
    const Utf8Step step = ReadUtf8(rest);
    if (step.code_point >= kAlphabetEnd || kBytes[step.code_point] < 0) return token;
    bytes.push_back(static_cast<char>(kBytes[step.code_point]));
    rest.remove_prefix(step.length);
  }
  return bytes;
}

}  // namespace pamir::text
