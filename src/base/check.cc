#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace pamir {

void CheckFailed(const char* file, int line, const char* condition, const std::string& why) {
  std::fprintf(stderr, "pamir: broken invariant at %s:%d: %s: %s\n", file, line, condition,
               why.c_str());
  std::abort();
}

}  // namespace pamir
