// One rank without a server: decode steps against the time that reading memory takes.
//   bench_engine [SIZE=1.3b] [CONTEXT=256] [THREADS=2]
// prints, for several ReLU densities, milliseconds a token, the bytes that the step must read
// (weights but for skipped fc2 neurons, and the KV cache), and the ratio of (bytes / read bandwidth
// of the same run) to the time.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "bench/read_loop.h"
#include "engine/model/opt_rank.h"

namespace pamir::bench {
namespace {

constexpr int kWarmUpSteps = 3;
constexpr int kTimedSteps = 40;

struct Density {
  int64_t active = 0;
  int64_t neurons = 0;
  double share() const {
    return neurons == 0 ? 1 : static_cast<double>(active) / static_cast<double>(neurons);
  }
};

struct Measured {
  double seconds = 0;    // a step, median
  double bandwidth = 0;  // bytes a second, median of passes between the steps
  double resident_bytes = 0;
  double resident_limit = 0;  // 1.15 x checkpoint + KV pool in use + 200 MB
  Density density;
  int64_t weight_bytes = 0;
};

flow::StepPlan Prefill(int context) {
  flow::StepPlan plan;
  flow::Admission admission{
      .slot = SlotId(0), .prompt_length = context, .sampling = {.temperature = 0}};
  for (int i = 0; i < context; ++i) admission.ids.push_back(4 + i % 256);
  const int blocks = static_cast<int>(CeilDiv(context + kWarmUpSteps + kTimedSteps + 1, 16));
  for (int b = 0; b < blocks; ++b) admission.blocks.push_back(BlockId(b));
  plan.admissions.push_back(admission);
  plan.rows.push_back(
      {.slot = SlotId(0), .from = 0, .count = context, .kind = flow::RowKind::kPrompt});
  return plan;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

double ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  double total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

Measured MeasureDecode(const spec::ModelSpec& model, double relu_density, int context,
                       int threads) {
  spec::ShardPlan plan = spec::EvenShardPlan(model, 1, 1).value();
  plan.limits = {.block_size = 16,
                 .num_blocks = 128,
                 .max_num_seqs = 1,
                 .max_num_batched_tokens = context,
                 .max_model_len = static_cast<int32_t>(model.positions),
                 .text_vocab = 260};
  const auto source = weights::MakeDummySource(model, {.seed = 1, .relu_density = relu_density});
  Measured out;
  bool counting = false;
  model::OptRankOptions options{.model = model, .plan = plan, .rank = 0, .threads = threads};
  options.ffn_observer = [&](int64_t, int64_t rows, int64_t width, const float* values) {
    if (!counting) return;
    out.density.neurons += rows * width;
    out.density.active +=
        std::count_if(values, values + rows * width, [](float value) { return value != 0; });
  };
  model::OptRankSizes sizes;
  auto rank =
      model::MakeOptRank(
          options, weights::LoadRankWeights(model, plan, 0, *source, threads, nullptr).value(), {},
          &sizes)
          .value();
  out.weight_bytes = sizes.weight_bytes;

  (void)rank->Step(Prefill(context)).value();
  // The limit is measured between the steps, for a virtual machine's memory is not always as fast.
  ThreadPool pool(threads);
  std::optional<ReadLoop> read;
  std::vector<double> seconds, bandwidths;
  for (int step = 0; step < kWarmUpSteps + kTimedSteps; ++step) {
    flow::StepPlan decode;
    decode.rows.push_back({.slot = SlotId(0), .from = context + step});
    counting = step == 0;  // counting costs time: not in a timed step
    const auto began = std::chrono::steady_clock::now();
    (void)rank->Step(decode).value();
    if (step >= kWarmUpSteps) {
      seconds.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
      bandwidths.push_back(read->Pass());
    } else if (step == kWarmUpSteps - 1) {
      out.resident_bytes = ResidentBytes();
      read.emplace(&pool);
    }
  }
  out.seconds = Median(seconds);
  out.bandwidth = Median(bandwidths);
  const double kv = 8.0 * static_cast<double>(model.layers * model.hidden * context);
  out.resident_limit = 1.15 * 2 * static_cast<double>(spec::ParameterCount(model)) + kv + 200e6;
  return out;
}

// What a decode step cannot avoid reading: all matrices once but for the fc2 weights of neurons
// that are zero, one row of the position table, keys and values of the context.
double BytesToRead(const spec::ModelSpec& model, const Measured& m, int context, bool skip) {
  const double position_table = 2.0 * static_cast<double>((model.positions + 1) * model.hidden);
  const double fc2 = 2.0 * static_cast<double>(model.layers * model.ffn * model.hidden);
  const double kv = 8.0 * static_cast<double>(model.layers * model.hidden * context);
  const double skipped = skip ? (1 - m.density.share()) * fc2 : 0;
  return static_cast<double>(m.weight_bytes) - position_table - skipped + kv;
}

int Main(int argc, char** argv) {
  const std::string size = argc > 1 ? argv[1] : "1.3b";
  const int context = argc > 2 ? std::atoi(argv[2]) : 256;
  const int threads = argc > 3 ? std::atoi(argv[3]) : 2;
  const absl::StatusOr<spec::ModelSpec> model = spec::NamedModel(size);
  if (!model.ok() || context < 1 || context > 1900 || threads < 1) {
    std::fprintf(stderr, "usage: bench_engine [SIZE=1.3b] [CONTEXT=256] [THREADS=2]\n");
    return 2;
  }
  std::printf("decode of %s shape, dummy weights, batch 1, context %d, %d threads\n",
              model->name.c_str(), context, threads);
  std::printf("%-9s %-9s %-8s %-9s %-10s %-11s %-12s %s\n", "density", "measured", "ms/token",
              "GB read", "limit GB/s", "of limit", "of all bytes", "resident GB (limit)");
  for (const double density : {0.5, 0.1, 0.05}) {
    const Measured m = MeasureDecode(*model, density, context, threads);
    const double bytes = BytesToRead(*model, m, context, true);
    const double all = BytesToRead(*model, m, context, false);
    std::printf("%-9.2f %-9.4f %-8.2f %-9.3f %-10.1f %-11.3f %-12.3f %.2f (%.2f)\n", density,
                m.density.share(), m.seconds * 1e3, bytes / 1e9, m.bandwidth / 1e9,
                bytes / m.bandwidth / m.seconds, all / m.bandwidth / m.seconds,
                m.resident_bytes / 1e9, m.resident_limit / 1e9);
    std::fflush(stdout);
  }
  std::printf(
      "of limit: (bytes that must be read / read bandwidth) / time; of all bytes: the same "
      "with nothing skipped, above 1 = faster than reading all weights allows\n");
  return 0;
}

}  // namespace
}  // namespace pamir::bench

int main(int argc, char** argv) { return pamir::bench::Main(argc, argv); }
