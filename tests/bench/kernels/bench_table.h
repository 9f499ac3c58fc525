// Collects the best of a benchmark's repetitions by name, so that a table of ratios can come last.
#ifndef PAMIR_TESTS_BENCH_KERNELS_BENCH_TABLE_H_
#define PAMIR_TESTS_BENCH_KERNELS_BENCH_TABLE_H_

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

namespace pamir::bench {

// Every benchmark here sets the counter "rate" (bytes or operations a second).
class BestRates : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      const auto rate = run.counters.find("rate");
      if (run.error_occurred || rate == run.counters.end()) continue;
      if (run.run_type != Run::RT_Iteration) continue;
      double& best = best_[run.run_name.function_name];
      best = std::max(best, static_cast<double>(rate->second));
    }
    ConsoleReporter::ReportRuns(runs);
  }

  // 0 where it did not run (filtered out).
  double Of(const std::string& name) const {
    const auto found = best_.find(name);
    return found == best_.end() ? 0 : found->second;
  }

 private:
  std::map<std::string, double> best_;
};

}  // namespace pamir::bench

#endif  // PAMIR_TESTS_BENCH_KERNELS_BENCH_TABLE_H_
