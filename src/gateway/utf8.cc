#include "gateway/utf8.h"

#include <cstdint>

namespace pamir::gateway {
namespace {

// Bytes of the character that begins with `lead`; 0 where none does.
int LengthFromLead(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;  // a continuation byte, or an overlong form of ASCII
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  return lead < 0xF5 ? 4 : 0;
}

// The second byte has a narrower range behind these leads: no overlong forms, no surrogates,
// nothing beyond U+10FFFF.
bool SecondByteFits(uint8_t lead, uint8_t second) {
  switch (lead) {
    case 0xE0:
      return second >= 0xA0;
    case 0xED:
      return second < 0xA0;
    case 0xF0:
      return second >= 0x90;
    case 0xF4:
      return second < 0x90;
    default:
      return true;
  }
}

}  // namespace

std::optional<size_t> FirstInvalidUtf8(const std::string& text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    const int length = LengthFromLead(bytes[i]);
    if (length == 0 || i + length > text.size()) return i;
    for (int k = 1; k < length; ++k) {
      if ((bytes[i + k] & 0xC0) != 0x80) return i;
    }
    if (length > 1 && !SecondByteFits(bytes[i], bytes[i + 1])) return i;
    i += length;
  }
  return std::nullopt;
}

}  // namespace pamir::gateway
