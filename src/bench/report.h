// What `pamir bench engine` found, and how it is shown.
#ifndef PAMIR_BENCH_REPORT_H_
#define PAMIR_BENCH_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/device_limits.h"
#include "bench/steps.h"

namespace pamir::bench {

struct BenchRow {
  std::string work;  // "decode", "prefill"
  int32_t batch = 1;
  int32_t context = 0;  // of each sequence on average; prefill: its tokens
  Timing timing;
  double floor_ms = 0;  // 0: not known
  double tokens_per_s = 0;
  double operations_per_s = 0;  // of prefill
};

struct BenchReport {
  std::string model, device, dtype, kv_cache_dtype, relu_skip;
  // Share of active neurons that dummy weights were made with; a checkpoint's is its own, and not
  // known here.
  std::optional<double> dummy_density;
  bool greedy = true;  // batches of one always are
  int threads = 0;     // on CPUs
  DeviceLimits limits;
  double load_s = 0;
  double first_token_s = 0;  // from opening the device to it, without measuring its limits
  int64_t weight_bytes = 0, kv_bytes = 0, buffer_bytes = 0;
  int graphs = 0;
  std::vector<BenchRow> rows;
};

std::string TextOf(const BenchReport& report);
std::string JsonOf(const BenchReport& report);  // one object on one line, without the line's end

}  // namespace pamir::bench

#endif  // PAMIR_BENCH_REPORT_H_
