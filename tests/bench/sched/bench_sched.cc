// What the coordinator's thread spends on a step: PlanStep, Apply(StepDone), TakeEvents, with
// sequences that decode. The goal is less than 50 us at 64. The device is nothing but its answer.
#include <benchmark/benchmark.h>

#include <utility>

#include "core/sched/scheduler.h"

namespace pamir::sched {
namespace {

flow::TokenRequest Request(uint64_t id, int32_t prompt, int32_t max_tokens) {
  flow::TokenRequest request;
  request.id = SeqId(id);
  request.prompt.assign(prompt, 5);
  request.max_tokens = max_tokens;
  return request;
}

flow::StepResult Answer(const flow::StepPlan& plan) {
  flow::StepResult result{.epoch = plan.epoch, .step = plan.step};
  result.sampled.reserve(plan.rows.size());
  for (const flow::Row& row : plan.rows) {
    if (row.wants == flow::RowWants::kSample) {
      result.sampled.push_back({.slot = row.slot, .token = 7, .logprob = -1});
    }
  }
  return result;
}

// One step. What makes the answer (one vector) is measured with it.
void OneStep(Scheduler* scheduler) {
  const auto plan = scheduler->PlanStep();
  benchmark::DoNotOptimize(scheduler->Apply(flow::StepDone{Answer(*plan)}));
  auto events = scheduler->TakeEvents();
  benchmark::DoNotOptimize(events.data());
}

SchedulerOptions Options(int32_t running) {
  return {.num_blocks = running * 129, .max_num_seqs = running, .max_waiting = 1 << 20};
}

// All decode; a sequence that reaches the context makes room for the next.
void BM_DecodeStep(benchmark::State& state) {
  const int32_t running = static_cast<int32_t>(state.range(0));
  Scheduler scheduler(Options(running));
  (void)scheduler.Apply(flow::WorkerReady{Epoch(1)});
  uint64_t id = 0;
  for (auto _ : state) {
    while (scheduler.Stats().running + scheduler.Stats().waiting < running) {
      (void)scheduler.Arrive(Request(++id, 16, 1 << 30));
    }
    OneStep(&scheduler);
  }
  state.SetItemsProcessed(state.iterations() * running);
}
BENCHMARK(BM_DecodeStep)->Arg(1)->Arg(8)->Arg(64)->Arg(256)->Unit(benchmark::kMicrosecond);

// Short requests join and leave at every step, with a long queue behind.
void BM_ChurnStep(benchmark::State& state) {
  const int32_t running = static_cast<int32_t>(state.range(0));
  Scheduler scheduler(Options(running));
  (void)scheduler.Apply(flow::WorkerReady{Epoch(1)});
  uint64_t id = 0;
  for (auto _ : state) {
    while (scheduler.Stats().waiting < 2 * running) {
      ++id;
      (void)scheduler.Arrive(Request(id, 16, static_cast<int32_t>(4 + id % 8)));
    }
    OneStep(&scheduler);
  }
  state.SetItemsProcessed(state.iterations() * running);
}
BENCHMARK(BM_ChurnStep)->Arg(64)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace pamir::sched

BENCHMARK_MAIN();
