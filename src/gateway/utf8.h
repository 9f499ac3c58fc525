#ifndef PAMIR_GATEWAY_UTF8_H_
#define PAMIR_GATEWAY_UTF8_H_

#include <cstddef>
#include <optional>
#include <string>

namespace pamir::gateway {

// Where `text` stops being UTF-8: the byte offset of the first sequence that is cut off, overlong,
// a surrogate or beyond U+10FFFF (Unicode 15, table 3-7). Nothing when all of it is valid.
std::optional<size_t> FirstInvalidUtf8(const std::string& text);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_UTF8_H_
