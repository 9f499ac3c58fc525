// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 14, table
// 3-7).
#ifndef PAMIR_BASE_UTF8_H_
#define PAMIR_BASE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace pamir {

struct Utf8Step {
  enum class Kind : uint8_t {
    kValid,       // one character
    kInvalid,     // bytes that can begin no character: one U+FFFD replaces them
    kIncomplete,  // all of the rest; it may become a character with more bytes
  };
  Kind kind = Kind::kValid;
  uint8_t length = 0;       // bytes, at least 1
  char32_t code_point = 0;  // with kValid
};

// Reads one character at the start of `bytes`, which must not be empty. The length of an invalid
// sequence is that of its longest part that could have begun a character, as in Unicode 14, chapter
// 3.9 ("substitution of maximal subparts"); Python's errors="replace" and Rust's lossy decoding
// count the same way.
Utf8Step ReadUtf8(std::string_view bytes);

// Where `text` stops being UTF-8: the offset of the first byte sequence that is wrong or cut off.
// Nothing when all of it is valid.
std::optional<size_t> FirstInvalidUtf8(std::string_view text);

// OK, or INVALID_ARGUMENT naming the offset of the first wrong byte sequence.
absl::Status ValidateUtf8(std::string_view text);

void AppendUtf8(char32_t code_point, std::string* out);

// Turns any stream of bytes into valid UTF-8: wrong sequences become U+FFFD, a character that is
// cut off by the end of a Push waits for the next one. The output does not depend on how the stream
// is cut into Pushes. Not thread-safe.
class Utf8Repairer {
 public:
  void Push(std::string_view bytes, std::string* out);
  // No more bytes: an unfinished character becomes one U+FFFD.
  void Finish(std::string* out);

 private:
  std::string pending_;  // the beginning of a character, 0 to 3 bytes
};

}  // namespace pamir

#endif  // PAMIR_BASE_UTF8_H_
