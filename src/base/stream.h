// An opaque reference to a device's queue of work (a CUDA stream). Null on CPUs.
#ifndef PAMIR_BASE_STREAM_H_
#define PAMIR_BASE_STREAM_H_

namespace pamir {

struct StreamRef {
  void* handle = nullptr;
};

}  // namespace pamir

#endif  // PAMIR_BASE_STREAM_H_
