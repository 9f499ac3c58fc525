#include "core/text/unicode_classes.h"

#include <algorithm>
#include <iterator>

namespace pamir::text {
namespace {

struct CodePointRange {
  char32_t first, last;  // inclusive
};

#include "core/text/unicode_table.inc"

// PropList.txt of Unicode 16. The list has not changed since Unicode 6.3.
constexpr CodePointRange kWhiteSpaceRanges[] = {
    {0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};

template <size_t N>
bool Contains(const CodePointRange (&ranges)[N], char32_t code_point) {
  const auto* after = std::upper_bound(
      std::begin(ranges), std::end(ranges), code_point,
      [](char32_t wanted, const CodePointRange& range) { return wanted < range.first; });
  return after != std::begin(ranges) && code_point <= (after - 1)->last;
}

CharClass ClassOfAscii(char32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return CharClass::kLetter;
  if (c >= '0' && c <= '9') return CharClass::kNumber;
  if (c == ' ' || (c >= '\t' && c <= '\r')) return CharClass::kWhiteSpace;
  return CharClass::kOther;
}

}  // namespace

CharClass ClassOf(char32_t code_point) {
  if (code_point < 0x80) return ClassOfAscii(code_point);
  if (Contains(kLetterRanges, code_point)) return CharClass::kLetter;
  if (Contains(kNumberRanges, code_point)) return CharClass::kNumber;
  if (Contains(kWhiteSpaceRanges, code_point)) return CharClass::kWhiteSpace;
  return CharClass::kOther;
}

}  // namespace pamir::text
