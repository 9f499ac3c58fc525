// One rank in this process, without a server: how long its steps take, and how long they must.
#ifndef PAMIR_BENCH_ENGINE_BENCH_H_
#define PAMIR_BENCH_ENGINE_BENCH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/dtype.h"
#include "bench/report.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/device/cuda_device.h"

namespace pamir::bench {

struct EngineBenchOptions {
  spec::ModelSpec model;
  std::string model_directory;  // a checkpoint; empty: dummy weights
  double dummy_relu_density = 0.5;
  DType dtype = DType::kFloat16;
  bool kv_fp8 = false;
  spec::ReluSkip relu_skip = spec::ReluSkip::kOff;
  std::vector<int32_t> batches = {1, 8, 32, 64};  // a decode row each
  int32_t context = 512;
  int32_t prefill = 2048;  // tokens; 0: no such row
  int32_t steps = 50;      // timed, of each decode row
  int threads = 0;         // of a CPU, or for loading onto a GPU; 0: what there is
};

// An opened GPU, and how long that took. Without a device: the CPU.
struct BenchDevice {
  std::unique_ptr<device::CudaDevice> gpu;
  absl::Duration open;
  std::string name = "cpu";
};

// The plan of the one rank: KV blocks for the largest batch and the prefill, and no more.
// INVALID_ARGUMENT: a context that the model does not have.
absl::StatusOr<spec::ShardPlan> BenchPlan(const EngineBenchOptions& options,
                                          spec::DeviceKind device);

// Blocks until all is measured. Errors are the engine's: memory, a broken checkpoint.
absl::StatusOr<BenchReport> BenchEngine(const EngineBenchOptions& options, BenchDevice device);

}  // namespace pamir::bench

#endif  // PAMIR_BENCH_ENGINE_BENCH_H_
