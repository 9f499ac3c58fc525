// The classes of characters that GPT-2's pattern tells apart.
#ifndef PAMIR_CORE_TEXT_UNICODE_CLASSES_H_
#define PAMIR_CORE_TEXT_UNICODE_CLASSES_H_

#include <cstdint>

namespace pamir::text {

enum class CharClass : uint8_t {
  kLetter,      // \p{L}
  kNumber,      // \p{N}
  kWhiteSpace,  // \s, the property White_Space: not U+001C..1F (which Python's str.isspace counts)
  kOther,       // [^\s\p{L}\p{N}], code points without an assigned character included
};

CharClass ClassOf(char32_t code_point);

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_UNICODE_CLASSES_H_
