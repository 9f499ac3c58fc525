// The limit of a decode step: how fast the machine reads memory that it only reads.
#ifndef PAMIR_BENCH_READ_LOOP_H_
#define PAMIR_BENCH_READ_LOOP_H_

#include "base/thread_pool.h"
#include "engine/device/host_buffer.h"

namespace pamir::bench {

class ReadLoop {
 public:
  explicit ReadLoop(ThreadPool* pool);
  // Reads 512 MB once; bytes a second. Four far-apart streams a thread (one stream understates the
  // limit by 10 to 17 %).
  double Pass();

 private:
  ThreadPool* const pool_;
  device::HostBuffer buffer_;
};

}  // namespace pamir::bench

#endif  // PAMIR_BENCH_READ_LOOP_H_
