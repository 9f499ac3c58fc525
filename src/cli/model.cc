#include <unistd.h>

#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "cli/engine_setup.h"
#include "cli/options.h"
#include "engine/weights/inspect.h"

namespace pamir::cli {
namespace {

int Report(const absl::Status& status) {
  if (status.ok()) return kExitDone;
  std::fprintf(stderr, "pamir: %s\n", std::string(status.message()).c_str());
  return kExitFailed;
}

// A percentage that stays on its line on a terminal; nothing elsewhere.
void ShowProgress(const char* what, weights::LoadProgress progress) {
  if (isatty(STDERR_FILENO) == 0 || progress.bytes_total == 0) return;
  std::fprintf(stderr, "\r%s: %3d %% of %s%s", what,
               static_cast<int>(100 * progress.bytes_done / progress.bytes_total),
               HumanBytes(progress.bytes_total).c_str(),
               progress.bytes_done == progress.bytes_total ? "\n" : "");
}

absl::Status Inspect(const ModelInspectFlags& flags) {
  PAMIR_ASSIGN_OR_RETURN(const spec::ModelSpec model, ReadModelSpec(flags.model));
  PAMIR_ASSIGN_OR_RETURN(spec::ShardPlan plan, spec::EvenShardPlan(model, flags.tensor_parallel,
                                                                   flags.pipeline_parallel));
  PAMIR_RETURN_IF_ERROR(SetWeightDType(flags.dtype, &plan));
  std::fputs(weights::DescribeModel(model, plan).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status Synth(const ModelSynthFlags& flags) {
  PAMIR_ASSIGN_OR_RETURN(const spec::ModelSpec model, spec::NamedModel(flags.size));
  PAMIR_RETURN_IF_ERROR(weights::WriteSynthetic(
      model, {.seed = flags.seed, .relu_density = flags.dummy_relu_density}, flags.out,
      [](weights::LoadProgress progress) { ShowProgress("writing", progress); }));
  std::printf("%s\n", flags.out.c_str());
  return absl::OkStatus();
}

absl::Status Verify(const ModelVerifyFlags& flags) {
  PAMIR_ASSIGN_OR_RETURN(const spec::ModelSpec model, ReadModelSpec(flags.model));
  PAMIR_ASSIGN_OR_RETURN(const auto source, weights::OpenCheckpoint(flags.model));
  PAMIR_RETURN_IF_ERROR(weights::VerifyCheckpoint(
      model, *source, [](weights::LoadProgress progress) { ShowProgress("reading", progress); }));
  std::printf("%s: all %zu tensors are there, of the right shape, and finite\n",
              flags.model.c_str(), spec::CheckpointTensors(model).size());
  return absl::OkStatus();
}

}  // namespace

int RunModelInspect(const ModelInspectFlags& flags) { return Report(Inspect(flags)); }
int RunModelSynth(const ModelSynthFlags& flags) { return Report(Synth(flags)); }
int RunModelVerify(const ModelVerifyFlags& flags) { return Report(Verify(flags)); }

}  // namespace pamir::cli
