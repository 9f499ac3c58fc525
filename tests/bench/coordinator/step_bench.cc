// CPU time of the coordinator for one step; the aim is at most 100 microseconds with 64 sequences.
#include <benchmark/benchmark.h>

#include "bench/coordinator/step_cost.h"

namespace pamir::bench {
namespace {

void BM_CoordinatorStep(benchmark::State& state) {
  const int sequences = static_cast<int>(state.range(0)), ranks = static_cast<int>(state.range(1));
  auto cost = std::make_unique<StepCost>(StepCostOptions(ranks), sequences);
  for (auto _ : state) {
    if (cost->Step()) continue;
    state.PauseTiming();
    cost = std::make_unique<StepCost>(StepCostOptions(ranks), sequences);
    state.ResumeTiming();
  }
  state.counters["plan_bytes"] = static_cast<double>(cost->plan_bytes());
}
BENCHMARK(BM_CoordinatorStep)->Args({1, 1})->Args({64, 1})->Args({64, 2})->Args({64, 4});

}  // namespace
}  // namespace pamir::bench

BENCHMARK_MAIN();
