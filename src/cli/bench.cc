#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "bench/engine_bench.h"
#include "cli/device_choice.h"
#include "cli/engine_setup.h"
#include "cli/options.h"
#include "engine/device/cuda_device.h"

namespace pamir::cli {
namespace {

spec::ReluSkip ReluSkipOf(const std::string& name) {
  if (name == "group") return spec::ReluSkip::kGroup;
  return name == "full" ? spec::ReluSkip::kFull : spec::ReluSkip::kOff;
}

absl::StatusOr<bench::EngineBenchOptions> OptionsOf(const BenchEngineFlags& flags) {
  bench::EngineBenchOptions options{.dummy_relu_density = flags.dummy_relu_density,
                                    .relu_skip = ReluSkipOf(flags.relu_skip),
                                    .batches = flags.batch,
                                    .context = flags.context,
                                    .prefill = flags.prefill,
                                    .steps = flags.steps,
                                    .threads = flags.threads};
  PAMIR_ASSIGN_OR_RETURN(options.model, ReadModelSpec(flags.model));
  std::error_code ignored;
  const bool has_files = std::filesystem::is_directory(flags.model, ignored);
  if (has_files && flags.load_format != "dummy") options.model_directory = flags.model;
  spec::ShardPlan plan;
  plan.weight_dtype = options.model.dtype;
  PAMIR_RETURN_IF_ERROR(SetWeightDType(flags.dtype, &plan));
  options.dtype = plan.weight_dtype;
  return options;
}

absl::StatusOr<bench::BenchDevice> OpenDevice(const BenchEngineFlags& flags) {
  bench::BenchDevice opened;
  const absl::Time begin = absl::Now();
  PAMIR_ASSIGN_OR_RETURN(const WorkerDevice device,
                         ChooseWorkerDevice(flags.device, device::ListCudaDevices));
  opened.name = NameOf(device);
  if (device.kind == spec::DeviceKind::kCuda) {
    PAMIR_ASSIGN_OR_RETURN(opened.gpu, device::CudaDevice::Open(device.index));
  }
  opened.open = absl::Now() - begin;
  return opened;
}

absl::StatusOr<bench::BenchReport> Measure(const BenchEngineFlags& flags) {
  PAMIR_ASSIGN_OR_RETURN(bench::EngineBenchOptions options, OptionsOf(flags));
  PAMIR_ASSIGN_OR_RETURN(bench::BenchDevice device, OpenDevice(flags));
  PAMIR_ASSIGN_OR_RETURN(options.kv_fp8, WantsKvFp8(flags.kv_cache_dtype,
                                                    device.gpu == nullptr ? spec::DeviceKind::kCpu
                                                                          : spec::DeviceKind::kCuda,
                                                    options.dtype));
  return bench::BenchEngine(options, std::move(device));
}

}  // namespace

int RunBenchEngine(const BenchEngineFlags& flags) {
  InitLogging(LogFormat::kText, "bench");
  const absl::StatusOr<bench::BenchReport> report = Measure(flags);
  if (!report.ok()) {
    std::fprintf(stderr, "pamir: %s\n", std::string(report.status().message()).c_str());
    return kExitFailed;
  }
  if (flags.json) {
    std::printf("%s\n", bench::JsonOf(*report).c_str());
  } else {
    std::fputs(bench::TextOf(*report).c_str(), stdout);
  }
  return kExitDone;
}

}  // namespace pamir::cli
