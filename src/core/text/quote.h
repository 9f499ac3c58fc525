#ifndef PAMIR_CORE_TEXT_QUOTE_H_
#define PAMIR_CORE_TEXT_QUOTE_H_

#include <string>

namespace pamir::text {

// `text` between quotes, for an error message: control bytes escaped, valid UTF-8, cut to a length
// that a log line bears.
std::string Quote(const std::string& text);

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_QUOTE_H_
