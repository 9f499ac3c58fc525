// Invariants. A broken one ends the process with the place and the reason: going on would mean
// wrong tokens. Bad input is never a CHECK; it is an absl::Status.
#ifndef PAMIR_BASE_CHECK_H_
#define PAMIR_BASE_CHECK_H_

#include <string>

namespace pamir {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const std::string& why);

}  // namespace pamir

// PAMIR_CHECK(free >= 0, absl::StrCat("free blocks: ", free)); the reason is evaluated only on
// failure.
#define PAMIR_CHECK(condition, why)                                \
  do {                                                             \
    if (__builtin_expect(!(condition), 0))                         \
      ::pamir::CheckFailed(__FILE__, __LINE__, #condition, (why)); \
  } while (false)

#endif  // PAMIR_BASE_CHECK_H_
