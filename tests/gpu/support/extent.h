// How much a GPU test program does.
#ifndef PAMIR_TESTS_GPU_SUPPORT_EXTENT_H_
#define PAMIR_TESTS_GPU_SUPPORT_EXTENT_H_

#include <cstring>

namespace pamir::gpu_test {

// "--tiny": every kernel on few small cases, so that compute-sanitizer's tools end (sanitize.sh);
// "--quick": all checks; neither: then the timings.
enum class Extent { kTiny, kQuick, kFull };

inline Extent ExtentOf(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--tiny") == 0) return Extent::kTiny;
    if (std::strcmp(argv[i], "--quick") == 0) return Extent::kQuick;
  }
  return Extent::kFull;
}

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_SUPPORT_EXTENT_H_
