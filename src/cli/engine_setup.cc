#include "cli/engine_setup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "base/utf8.h"
#include "cli/kv_blocks.h"
#include "cli/read_file.h"
#include "core/text/bpe_tokenizer.h"
#include "core/text/byte_tokenizer.h"

namespace pamir::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxServedNameBytes = 256;  // a file's name fits

bool IsDirectory(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

absl::StatusOr<std::unique_ptr<flow::Text>> ReadText(const std::string& directory,
                                                     const spec::ModelSpec& model) {
  PAMIR_ASSIGN_OR_RETURN(const std::string vocab, ReadFile(directory + "/vocab.json"));
  PAMIR_ASSIGN_OR_RETURN(const std::string merges, ReadFile(directory + "/merges.txt"));
  auto text = text::MakeTokenizer(vocab, merges, {.bos = model.bos});
  if (!text.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": ", std::string(text.status().message())));
  }
  return text;
}

int64_t MachineMemory() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE); }

absl::StatusOr<GpuBudget> BudgetOf(const EngineFlags& flags, const ClusterDevice& device) {
  GpuBudget budget{.utilization = flags.gpu_memory_utilization, .shared_out = device.local};
  for (const kernels::CudaDeviceFacts& gpu : device.gpus) {
    budget.memory.push_back(gpu.memory_bytes);
  }
  if (flags.gpu_memory_gib > 0) {
    budget.memory = {static_cast<int64_t>(flags.gpu_memory_gib * kGiB)};
  }
  if (!budget.memory.empty()) return budget;
  return absl::InvalidArgumentError(
      "how many KV blocks fit into the workers' GPUs cannot be told here, for this machine has no "
      "GPU: give --gpu-memory (GiB of the smallest of them) or --num-kv-blocks");
}

absl::StatusOr<int64_t> DefaultKvBlocks(const EngineFlags& flags, const ClusterDevice& device,
                                        const spec::ModelSpec& model, const spec::ShardPlan& plan) {
  if (plan.device == spec::DeviceKind::kCpu) return CpuKvBlocks(model, plan, MachineMemory());
  PAMIR_ASSIGN_OR_RETURN(const GpuBudget budget, BudgetOf(flags, device));
  return CudaKvBlocks(model, plan, budget);
}

void SetDeviceOf(const EngineFlags& flags, const ClusterDevice& device, spec::ShardPlan* plan) {
  spec::SetDevice(device.kind, plan->weight_dtype, plan);
  if (flags.relu_skip == "group") plan->relu_skip = spec::ReluSkip::kGroup;
  if (flags.relu_skip == "full") plan->relu_skip = spec::ReluSkip::kFull;
}

// Status messages carry the name to clients, as UTF-8.
absl::Status CheckServedName(const std::string& name) {
  if (!name.empty() && name.size() <= kMaxServedNameBytes && !FirstInvalidUtf8(name)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the model's name must be 1 to ", kMaxServedNameBytes,
                   " bytes of UTF-8: give one with --served-model-name"));
}

absl::Status SetLimits(const EngineFlags& flags, const ClusterDevice& device,
                       const spec::ModelSpec& model, int32_t text_vocab, spec::ShardPlan* plan) {
  spec::EngineLimits& limits = plan->limits;
  limits.block_size = flags.block_size;
  limits.max_num_seqs = flags.max_num_seqs;
  limits.max_num_batched_tokens = flags.max_num_batched_tokens;
  limits.max_model_len =
      static_cast<int32_t>(flags.max_model_len == 0 ? model.positions : flags.max_model_len);
  limits.text_vocab = text_vocab;
  if (limits.max_model_len > model.positions) {
    return absl::InvalidArgumentError(absl::StrCat("--max-model-len ", limits.max_model_len,
                                                   " is above the model's context of ",
                                                   model.positions));
  }
  if (limits.max_num_batched_tokens < limits.max_num_seqs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--max-num-batched-tokens ", limits.max_num_batched_tokens, " is below --max-num-seqs ",
        limits.max_num_seqs, ": a step could not hold one token of each sequence"));
  }
  limits.num_blocks = flags.num_kv_blocks;
  if (flags.num_kv_blocks == 0) {
    PAMIR_ASSIGN_OR_RETURN(const int64_t blocks, DefaultKvBlocks(flags, device, model, *plan));
    limits.num_blocks = static_cast<int32_t>(blocks);
  }
  return spec::CheckShardPlan(model, *plan);
}

}  // namespace

absl::StatusOr<spec::ModelSpec> ReadModelSpec(const std::string& model) {
  if (!IsDirectory(model)) {
    absl::StatusOr<spec::ModelSpec> named = spec::NamedModel(model);
    if (named.ok()) return named;
    return absl::NotFoundError(absl::StrCat("--model ", model,
                                            ": there is no such directory, and no model of that "
                                            "name (",
                                            std::string(named.status().message()), ")"));
  }
  PAMIR_ASSIGN_OR_RETURN(const std::string config, ReadFile(model + "/config.json"));
  std::string name = fs::path(model).lexically_normal().filename().string();
  if (name.empty()) name = fs::path(model).lexically_normal().parent_path().filename().string();
  absl::StatusOr<spec::ModelSpec> parsed = spec::ParseModelConfig(config, name);
  if (parsed.ok()) return parsed;
  return absl::InvalidArgumentError(
      absl::StrCat(model, "/config.json: ", std::string(parsed.status().message())));
}

absl::Status SetWeightDType(const std::string& dtype, spec::ShardPlan* plan) {
  if (dtype == "auto") return absl::OkStatus();  // the checkpoint's
  const std::optional<DType> parsed = DTypeFromName(dtype);
  if (!parsed) return absl::InvalidArgumentError(absl::StrCat("--dtype ", dtype, " is unknown"));
  plan->weight_dtype = *parsed;
  return absl::OkStatus();
}

absl::StatusOr<bool> WantsKvFp8(const std::string& kv_cache_dtype, spec::DeviceKind device,
                                DType weight_dtype) {
  if (kv_cache_dtype == "auto") return false;
  if (device == spec::DeviceKind::kCpu) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv-cache-dtype ", kv_cache_dtype,
                     " is for GPUs; on CPUs the KV cache is in float32: leave it at auto"));
  }
  if (weight_dtype == DType::kFloat32) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv-cache-dtype ", kv_cache_dtype,
                     " does not go with weights in float32: give --dtype float16 or bfloat16, or "
                     "leave it at auto"));
  }
  return kv_cache_dtype == "fp8";
}

flow::RankTransport TransportFromName(const std::string& name) {
  if (name == "shm") return flow::RankTransport::kShm;
  if (name == "gloo") return flow::RankTransport::kGloo;
  if (name == "nccl") return flow::RankTransport::kNccl;
  if (name == "staged") return flow::RankTransport::kStaged;
  return flow::RankTransport::kAuto;
}

absl::StatusOr<EngineSetup> SetUpEngine(const EngineFlags& flags, const ClusterDevice& device) {
  EngineSetup setup;
  flow::LoadRequest& load = setup.load;
  PAMIR_ASSIGN_OR_RETURN(load.model, ReadModelSpec(flags.model));
  const bool has_files = IsDirectory(flags.model);
  load.format = flags.load_format == "dummy" ? flow::LoadFormat::kDummy : flow::LoadFormat::kAuto;
  if (!has_files && load.format != flow::LoadFormat::kDummy) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model ", flags.model,
                     " is a name, not a directory with weights; add --load-format dummy to run "
                     "the shape with made-up weights"));
  }
  load.model_directory = has_files ? fs::absolute(flags.model).lexically_normal().string() : "";
  load.dummy_seed = flags.seed;
  load.dummy_relu_density = flags.dummy_relu_density;
  load.threads = flags.threads;
  load.comm_timeout = absl::Seconds(flags.comm_timeout_s);
  load.transport = TransportFromName(flags.transport);

  const bool own_text = has_files && fs::exists(flags.model + "/vocab.json");
  if (own_text || load.format == flow::LoadFormat::kAuto) {
    PAMIR_ASSIGN_OR_RETURN(setup.text, ReadText(flags.model, load.model));
  } else {
    setup.text = text::MakeByteTokenizer();
  }
  if (setup.text->vocab_size() > load.model.vocab) {
    return absl::InvalidArgumentError(
        absl::StrCat(flags.model, ": vocab.json has ", setup.text->vocab_size(),
                     " entries, but config.json says vocab_size ", load.model.vocab));
  }
  PAMIR_ASSIGN_OR_RETURN(
      load.plan, spec::EvenShardPlan(load.model, flags.tensor_parallel, flags.pipeline_parallel));
  PAMIR_RETURN_IF_ERROR(SetWeightDType(flags.dtype, &load.plan));
  SetDeviceOf(flags, device, &load.plan);
  PAMIR_ASSIGN_OR_RETURN(
      load.plan.kv_fp8, WantsKvFp8(flags.kv_cache_dtype, load.plan.device, load.plan.weight_dtype));
  PAMIR_RETURN_IF_ERROR(SetLimits(flags, device, load.model, setup.text->vocab_size(), &load.plan));
  setup.served_name = flags.served_model_name.empty() ? load.model.name : flags.served_model_name;
  PAMIR_RETURN_IF_ERROR(CheckServedName(setup.served_name));
  return setup;
}

}  // namespace pamir::cli
