// `pamir serve` on fable-14m as a user meets it: time from process start to the first token, tokens
// a second of one stream, CPU while idle, resident memory of the workers.   bench_serve [RUNS=7]
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "e2e/server.h"

namespace pamir::testing {
namespace {

using Seconds = std::chrono::duration<double>;
using Clock = std::chrono::steady_clock;

constexpr int kStreamTokens = 512;
constexpr std::chrono::seconds kIdleFor(10);

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

std::vector<pid_t> FamilyOf(pid_t parent) {
  const std::string id = std::to_string(parent);
  std::ifstream file("/proc/" + id + "/task/" + id + "/children");
  std::vector<pid_t> family = {parent};
  for (pid_t pid; file >> pid;) family.push_back(pid);
  return family;
}

// User and system seconds of a process so far.
double CpuSeconds(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  text = text.substr(text.rfind(')') + 2);
  unsigned long user = 0, system = 0;
  std::sscanf(text.c_str(), "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double ResidentMb(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  long total = 0, resident = 0;
  file >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

GenerateParams Story(int tokens) {
  GenerateParams params;
  params.prompt = "Once upon a time";
  params.temperature = 0;
  params.stop.max_tokens = tokens;
  params.stop.ignore_eos = true;
  return params;
}

struct Figures {
  double first_token_s = 0, tokens_per_s = 0, idle_percent = 0, worker_mb = 0;
};

Figures Measure(int tp, int pp, int runs) {
  const std::vector<std::string> flags = {"--model", SourcePath("configs/models/fable-14m"),
                                          "-tp",     std::to_string(tp),
                                          "-pp",     std::to_string(pp)};
  std::vector<double> first, rates, idle, resident;
  for (int run = 0; run < runs; ++run) {
    const Clock::time_point start = Clock::now();
    Server server(flags);
    (void)server.client().Generate(Story(1));
    first.push_back(Seconds(Clock::now() - start).count());
    for (int repeat = 0; repeat < 3; ++repeat) {
      const Clock::time_point began = Clock::now();
      (void)server.client().Generate(Story(kStreamTokens));
      rates.push_back(kStreamTokens / Seconds(Clock::now() - began).count());
    }
    const std::vector<pid_t> family = FamilyOf(server.process().pid());
    resident.push_back(ResidentMb(family.back()));
    if (run > 0) continue;  // idle takes its time; once is enough
    std::this_thread::sleep_for(std::chrono::seconds(1));
    double before = 0, after = 0;
    for (const pid_t pid : family) before += CpuSeconds(pid);
    std::this_thread::sleep_for(kIdleFor);
    for (const pid_t pid : family) after += CpuSeconds(pid);
    idle.push_back(100 * (after - before) / static_cast<double>(kIdleFor.count()));
  }
  return {Median(first), Median(rates), Median(idle), Median(resident)};
}

int Main(int argc, char** argv) {
  const int runs = argc > 1 ? std::max(1, std::atoi(argv[1])) : 7;
  std::printf("pamir serve, fable-14m, medians of %d starts\n", runs);
  std::printf("%-8s %-18s %-16s %-14s %s\n", "tp x pp", "first token s", "tokens/s, one",
              "idle % core", "worker resident MB");
  for (const auto& [tp, pp] : {std::pair{1, 1}, std::pair{2, 1}, std::pair{1, 2}}) {
    const Figures f = Measure(tp, pp, runs);
    std::printf("%d x %-4d %-18.3f %-16.0f %-14.2f %.0f\n", tp, pp, f.first_token_s, f.tokens_per_s,
                f.idle_percent, f.worker_mb);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace pamir::testing

int main(int argc, char** argv) { return pamir::testing::Main(argc, argv); }
