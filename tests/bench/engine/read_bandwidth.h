// The limit of a decode step: how fast the machine reads memory that it only reads.
#ifndef PAMIR_TESTS_BENCH_ENGINE_READ_BANDWIDTH_H_
#define PAMIR_TESTS_BENCH_ENGINE_READ_BANDWIDTH_H_

#include "base/thread_pool.h"

namespace pamir::bench {

// Bytes a second, median of several passes over 512 MB, four far-apart streams a thread (one stream
// understates the limit by 10 to 17 %).
double ReadBandwidth(ThreadPool* pool);

}  // namespace pamir::bench

#endif  // PAMIR_TESTS_BENCH_ENGINE_READ_BANDWIDTH_H_
