// Where and how a kernel runs. Passed to every kernel; owns nothing.
#ifndef PAMIR_BASE_KERNEL_CONTEXT_H_
#define PAMIR_BASE_KERNEL_CONTEXT_H_

#include "base/stream.h"
#include "base/thread_pool.h"

namespace pamir {

enum class Backend {
  kReference,  // plain loops, the readable meaning of each kernel; tests judge the others by it
  kCpu,        // SIMD through Highway, threads of the kernel pool
};

struct KernelContext {
  Backend backend = Backend::kReference;
  ThreadPool* pool = nullptr;  // kCpu: not null
  StreamRef stream;            // GPU back ends
};

}  // namespace pamir

#endif  // PAMIR_BASE_KERNEL_CONTEXT_H_
