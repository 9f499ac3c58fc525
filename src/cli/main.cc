#include <variant>

#include "cli/options.h"

namespace pamir::cli {
namespace {

struct RunCommand {
  int operator()(const ServeFlags& flags) const { return RunServe(flags); }
  int operator()(const CoordinatorFlags& flags) const { return RunCoordinator(flags); }
  int operator()(const WorkerFlags& flags) const { return RunWorkerCommand(flags); }
  int operator()(const GenerateFlags& flags) const { return RunGenerate(flags); }
  int operator()(const ScoreFlags& flags) const { return RunScore(flags); }
  int operator()(const StatusFlags& flags) const { return RunStatus(flags); }
  int operator()(const ModelInspectFlags& flags) const { return RunModelInspect(flags); }
  int operator()(const ModelSynthFlags& flags) const { return RunModelSynth(flags); }
  int operator()(const ModelVerifyFlags& flags) const { return RunModelVerify(flags); }
  int operator()(const BenchEngineFlags& flags) const { return RunBenchEngine(flags); }
};

}  // namespace
}  // namespace pamir::cli

int main(int argc, char** argv) {
  const auto parsed = pamir::cli::ParseCommandLine(argc, argv);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  return std::visit(pamir::cli::RunCommand(), std::get<pamir::cli::Command>(parsed));
}
