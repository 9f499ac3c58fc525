#include "bench/engine_bench.h"

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "bench/floor.h"
#include "engine/model/cuda_rank.h"
#include "engine/model/opt_rank.h"
#include "engine/weights/cuda_weights.h"
#include "engine/weights/tensor_source.h"

namespace pamir::bench {
namespace {

constexpr int kPrefillRepeats = 5;
constexpr int32_t kFirstPrompt = 16;  // tokens of the prompt behind which the first token comes

// Models without biases cannot be given a density.
double DensityOf(const EngineBenchOptions& options) {
  return options.model.bias ? options.dummy_relu_density : 0.5;
}

absl::StatusOr<std::unique_ptr<weights::TensorSource>> OpenSource(
    const EngineBenchOptions& options) {
  if (!options.model_directory.empty()) return weights::OpenCheckpoint(options.model_directory);
  return weights::MakeDummySource(options.model, {.relu_density = DensityOf(options)});
}

absl::StatusOr<std::unique_ptr<flow::Rank>> LoadCpu(const EngineBenchOptions& options,
                                                    const spec::ShardPlan& plan,
                                                    BenchReport* report) {
  PAMIR_ASSIGN_OR_RETURN(const auto source, OpenSource(options));
  PAMIR_ASSIGN_OR_RETURN(
      weights::RankWeights weights,
      weights::LoadRankWeights(options.model, plan, 0, *source, report->threads, nullptr));
  model::OptRankSizes sizes;
  PAMIR_ASSIGN_OR_RETURN(
      std::unique_ptr<flow::Rank> rank,
      model::MakeOptRank({.model = options.model, .plan = plan, .threads = report->threads},
                         std::move(weights), {}, &sizes));
  report->weight_bytes = sizes.weight_bytes;
  report->kv_bytes = sizes.kv_bytes;
  report->buffer_bytes = sizes.buffer_bytes;
  return rank;
}

absl::StatusOr<std::unique_ptr<flow::Rank>> LoadCuda(const EngineBenchOptions& options,
                                                     const spec::ShardPlan& plan,
                                                     std::unique_ptr<device::CudaDevice> gpu,
                                                     BenchReport* report) {
  PAMIR_ASSIGN_OR_RETURN(const auto source, OpenSource(options));
  PAMIR_RETURN_IF_ERROR(model::CheckCudaMemory(*gpu, options.model, plan, 0));
  model::CudaRankParts parts;
  parts.device = std::move(gpu);
  PAMIR_ASSIGN_OR_RETURN(parts.weights,
                         weights::LoadCudaWeights(options.model, plan, 0, *source, options.threads,
                                                  nullptr, *parts.device));
  model::CudaRankSizes sizes;
  PAMIR_ASSIGN_OR_RETURN(
      std::unique_ptr<flow::Rank> rank,
      model::MakeCudaRank({.model = options.model, .plan = plan}, std::move(parts), &sizes));
  report->weight_bytes = sizes.weight_bytes;
  report->kv_bytes = sizes.kv_bytes;
  report->buffer_bytes = sizes.buffer_bytes;
  report->graphs = sizes.graphs;
  return rank;
}

absl::StatusOr<BenchRow> DecodeRow(const EngineBenchOptions& options, const spec::ShardPlan& plan,
                                   const BenchReport& report, int32_t batch, StepFeeder* feeder) {
  BenchRow row{.work = "decode", .batch = batch, .context = options.context};
  const int32_t first = FirstContext(options.context, options.steps);
  PAMIR_ASSIGN_OR_RETURN(row.timing, feeder->Decode(batch, first, options.steps));
  // What a checkpoint's density is, this does not know.
  const int64_t group = report.dummy_density ? SkippedGroup(options.model, plan) : 0;
  const double share = Fc2Share(report.dummy_density.value_or(1), batch, group);
  const double context = first + kWarmUpSteps + (options.steps - 1) / 2.0;  // on average
  row.context = static_cast<int32_t>(std::lround(context));  // no less than the steps make it
  row.floor_ms = DecodeBytes(options.model, plan, batch, context, share) /
                 report.limits.read_bytes_per_s * 1e3;
  row.tokens_per_s = batch / row.timing.ms * 1e3;
  return row;
}

absl::StatusOr<BenchRow> PrefillRow(const EngineBenchOptions& options, const spec::ShardPlan& plan,
                                    const BenchReport& report, StepFeeder* feeder) {
  BenchRow row{.work = "prefill", .batch = 1, .context = options.prefill};
  PAMIR_ASSIGN_OR_RETURN(row.timing, feeder->Prefill(options.prefill, kPrefillRepeats));
  const double operations = PrefillOperations(options.model, plan, options.prefill);
  if (report.limits.operations_per_s > 0) {
    row.floor_ms = operations / report.limits.operations_per_s * 1e3;
  }
  row.tokens_per_s = options.prefill / row.timing.ms * 1e3;
  row.operations_per_s = operations / row.timing.ms * 1e3;
  return row;
}

int32_t LargestBatch(const EngineBenchOptions& options) {
  return *std::max_element(options.batches.begin(), options.batches.end());
}

}  // namespace

absl::StatusOr<spec::ShardPlan> BenchPlan(const EngineBenchOptions& options,
                                          spec::DeviceKind device) {
  const int32_t decode =
      DecodePositions(FirstContext(options.context, options.steps), options.steps);
  if (decode > options.model.positions) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--context ", options.context, " and --steps ", options.steps, " (and ", kWarmUpSteps,
        " to warm up) are above the model's context of ", options.model.positions));
  }
  if (options.prefill > options.model.positions) {
    return absl::InvalidArgumentError(absl::StrCat("--prefill ", options.prefill,
                                                   " is above the model's context of ",
                                                   options.model.positions));
  }
  PAMIR_ASSIGN_OR_RETURN(spec::ShardPlan plan, spec::EvenShardPlan(options.model, 1, 1));
  spec::SetDevice(device, options.dtype, &plan);
  plan.kv_fp8 = options.kv_fp8;
  plan.relu_skip = options.relu_skip;
  spec::EngineLimits& limits = plan.limits;
  const int32_t batch = LargestBatch(options);
  limits.max_num_seqs = batch;
  limits.max_model_len = std::max({decode, options.prefill, kFirstPrompt});
  limits.max_num_batched_tokens = std::max({batch, options.prefill, kFirstPrompt});
  limits.num_blocks =
      static_cast<int32_t>(std::max(batch * CeilDiv(decode, limits.block_size),
                                    CeilDiv(limits.max_model_len, limits.block_size)));
  PAMIR_RETURN_IF_ERROR(spec::CheckShardPlan(options.model, plan));
  return plan;
}

absl::StatusOr<BenchReport> BenchEngine(const EngineBenchOptions& options, BenchDevice device) {
  const bool cuda = device.gpu != nullptr;
  PAMIR_ASSIGN_OR_RETURN(
      const spec::ShardPlan plan,
      BenchPlan(options, cuda ? spec::DeviceKind::kCuda : spec::DeviceKind::kCpu));
  BenchReport report{.model = options.model.name,
                     .device = device.name,
                     .dtype = Name(options.dtype),
                     .kv_cache_dtype = options.kv_fp8 ? "fp8" : Name(plan.kv_dtype),
                     .relu_skip = cuda ? Name(options.relu_skip) : "always"};
  if (options.model_directory.empty()) report.dummy_density = DensityOf(options);
  // Where idle neurons are counted on, the rows of a batch must not become the same.
  report.greedy = SkippedGroup(options.model, plan) == 0;
  if (!cuda) {
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    report.threads = options.threads > 0 ? options.threads : cores;
  }
  PAMIR_ASSIGN_OR_RETURN(
      report.limits, cuda ? MeasureCuda(*device.gpu, options.dtype) : MeasureCpu(report.threads));
  const absl::Time start = absl::Now();
  PAMIR_ASSIGN_OR_RETURN(const std::unique_ptr<flow::Rank> rank,
                         cuda ? LoadCuda(options, plan, std::move(device.gpu), &report)
                              : LoadCpu(options, plan, &report));
  report.load_s = absl::ToDoubleSeconds(absl::Now() - start);
  StepFeeder feeder(rank.get(), options.model, plan.limits, report.greedy);
  PAMIR_RETURN_IF_ERROR(feeder.Prefill(kFirstPrompt, 0).status());
  report.first_token_s = absl::ToDoubleSeconds(device.open + (absl::Now() - start));
  for (const int32_t batch : options.batches) {
    PAMIR_ASSIGN_OR_RETURN(BenchRow row, DecodeRow(options, plan, report, batch, &feeder));
    report.rows.push_back(std::move(row));
  }
  if (options.prefill > 0) {
    PAMIR_ASSIGN_OR_RETURN(BenchRow row, PrefillRow(options, plan, report, &feeder));
    report.rows.push_back(std::move(row));
  }
  return report;
}

}  // namespace pamir::bench
