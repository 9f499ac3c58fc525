// What every fake kernel does first: say which device memory it touches, and be enqueued.
#ifndef PAMIR_TESTS_SUPPORT_FAKE_CUDA_LAUNCH_H_
#define PAMIR_TESTS_SUPPORT_FAKE_CUDA_LAUNCH_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "base/dtype.h"
#include "base/stream.h"
#include "support/fake_cuda/state.h"

namespace pamir::testing {

//   return Launch("pick_rows", stream).Touches("in", a.in, bytes, 16).Go([a] { ... });
class Launch {
 public:
  Launch(const char* name, StreamRef stream);

  // Dies where the pointer is not a multiple of `alignment`; null and 0 bytes are fine.
  Launch& Touches(const char* argument, const void* data, int64_t bytes, int64_t alignment = 4);
  Launch& TouchesIfGiven(const char* argument, const void* data, int64_t bytes,
                         int64_t alignment = 4);

  int Go(std::function<void()> run);

 private:
  const StreamRef stream_;
  Work work_;
};

// A launch with arguments that the real function refuses.
int Refuse();

// Bytes from a matrix's first element to behind its last.
inline int64_t Span(int64_t rows, int64_t stride, int64_t width, int64_t element_bytes) {
  return rows == 0 ? 0 : ((rows - 1) * stride + width) * element_bytes;
}

// `count` elements as floats: `data` itself where it is float32, else converted into `storage`.
const float* AsFloats(DType type, const void* data, int64_t count, std::vector<float>* storage);

inline const char* At(DType type, const void* data, int64_t index) {
  return static_cast<const char*>(data) + index * static_cast<int64_t>(SizeOf(type));
}

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_FAKE_CUDA_LAUNCH_H_
