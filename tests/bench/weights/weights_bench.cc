// How fast a rank's weights come to be. Arguments: threads.
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"
#include "benchmark/benchmark.h"
#include "engine/weights/dummy_values.h"
#include "engine/weights/inspect.h"
#include "engine/weights/rank_weights.h"

namespace pamir::weights {
namespace {

void LoadAll(benchmark::State& state, const spec::ModelSpec& model, const TensorSource& source) {
  const spec::ShardPlan plan = spec::EvenShardPlan(model, 1, 1).value();
  const int threads = static_cast<int>(state.range(0));
  int64_t bytes = 0;
  for (auto _ : state) {
    absl::StatusOr<RankWeights> loaded = LoadRankWeights(model, plan, 0, source, threads, nullptr);
    PAMIR_CHECK(loaded.ok(), loaded.status().ToString());
    bytes += loaded->bytes;
  }
  state.SetBytesProcessed(bytes);
}

void BM_LoadDummy(benchmark::State& state, const std::string& name) {
  const spec::ModelSpec model = spec::NamedModel(name).value();
  LoadAll(state, model, *MakeDummySource(model, {}));
}

// Files in the page cache: what is measured is reading from there, checking and packing.
void BM_LoadFiles(benchmark::State& state, const std::string& name) {
  const spec::ModelSpec model = spec::NamedModel(name).value();
  std::string directory = (std::filesystem::temp_directory_path() / "pamir_bench_XXXXXX").string();
  PAMIR_CHECK(mkdtemp(directory.data()) != nullptr, directory);
  const absl::Status written = WriteSynthetic(model, {}, directory, nullptr);
  PAMIR_CHECK(written.ok(), written.ToString());
  auto source = OpenCheckpoint(directory);
  PAMIR_CHECK(source.ok(), source.status().ToString());
  LoadAll(state, model, **source);
  std::filesystem::remove_all(directory);
}

void BM_FillDummy(benchmark::State& state) {
  const NormalTable table = ScaledTable(StandardNormalLevels(), 0, 0.02);
  std::vector<uint16_t> out(1 << 20);
  for (auto _ : state) {
    FillDummy(table, 1, 1, static_cast<int64_t>(out.size()), out.data());
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(out.size()));
}

BENCHMARK(BM_FillDummy);
BENCHMARK_CAPTURE(BM_LoadDummy, 125m, "125m")->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK_CAPTURE(BM_LoadDummy, 1p3b, "1.3b")->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_LoadFiles, 125m, "125m")->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace pamir::weights

BENCHMARK_MAIN();
