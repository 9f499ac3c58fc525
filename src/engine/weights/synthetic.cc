#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "engine/weights/inspect.h"
#include "engine/weights/shard_writer.h"

namespace pamir::weights {
namespace {

using Json = nlohmann::ordered_json;

void AppendUtf8(uint32_t code, std::string& text) {
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else {  // two bytes are enough: codes end at 323
    text.push_back(static_cast<char>(0xC0 | code >> 6));
    text.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

// GPT-2's byte_encoder: printable bytes stand for themselves, the others for the characters from
// 256 on. The order of the list is that of the ids.
std::vector<std::string> ByteSpellings() {
  const auto printable = [](int b) {
    return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
  };
  std::vector<std::string> spellings;
  for (int b = 0; b < 256; ++b) {
    if (printable(b)) AppendUtf8(b, spellings.emplace_back());
  }
  uint32_t next = 256;
  for (int b = 0; b < 256; ++b) {
    if (!printable(b)) AppendUtf8(next++, spellings.emplace_back());
  }
  return spellings;
}

std::string ByteVocabulary() {
  Json vocabulary;
  for (const char* special : {"<s>", "<pad>", "</s>", "<unk>"}) {
    vocabulary[special] = vocabulary.size();
  }
  for (const std::string& spelling : ByteSpellings()) vocabulary[spelling] = vocabulary.size();
  return vocabulary.dump();
}

std::string GenerationConfig(const spec::ModelSpec& model) {
  const Json config = {{"_from_model_config", true},
                       {"bos_token_id", model.bos},
                       {"eos_token_id", model.eos},
                       {"pad_token_id", model.pad}};
  return config.dump(2) + "\n";
}

absl::Status PrepareDirectory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  const bool empty = !error && std::filesystem::is_empty(directory, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot use the directory ", directory, ": ", error.message()));
  }
  if (empty) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(directory, " is not empty; name a new or an empty directory"));
}

using Shards = std::vector<std::vector<spec::TensorSpec>>;

Shards CutIntoShards(const spec::ModelSpec& model, int64_t max_shard_bytes) {
  Shards shards(1);
  int64_t bytes = 0;
  for (spec::TensorSpec& tensor : spec::CheckpointTensors(model)) {
    const int64_t size = 2 * tensor.elements();
    if (bytes + size > max_shard_bytes && !shards.back().empty()) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += size;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

std::string ShardName(size_t index, size_t count) {
  if (count == 1) return "model.safetensors";
  return absl::StrFormat("model-%05d-of-%05d.safetensors", index + 1, count);
}

std::string IndexText(const Shards& shards, int64_t total_bytes) {
  Json map;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const spec::TensorSpec& tensor : shards[i]) map[tensor.name] = ShardName(i, shards.size());
  }
  const Json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", map}};
  return index.dump(2) + "\n";
}

}  // namespace

absl::Status WriteSynthetic(const spec::ModelSpec& model, const DummyOptions& options,
                            const std::string& directory,
                            const std::function<void(LoadProgress)>& progress,
                            int64_t max_shard_bytes) {
  if (model.vocab < kByteVocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a vocabulary of ", model.vocab, " rows is too small for the byte tokenizer, which has ",
        kByteVocabulary, " tokens"));
  }
  PAMIR_RETURN_IF_ERROR(PrepareDirectory(directory));
  const auto path = [&](const std::string& name) { return absl::StrCat(directory, "/", name); };
  const int64_t total_bytes = 2 * spec::ParameterCount(model);
  ProgressMeter meter(total_bytes, progress);
  const std::unique_ptr<TensorSource> source = MakeDummySource(model, options);
  const Shards shards = CutIntoShards(model, max_shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = ShardName(i, shards.size());
    PAMIR_RETURN_IF_ERROR(WriteFp16Shard(path(name), shards[i], *source, meter));
  }
  if (shards.size() > 1) {
    PAMIR_RETURN_IF_ERROR(
        WriteTextFile(path("model.safetensors.index.json"), IndexText(shards, total_bytes)));
  }
  PAMIR_RETURN_IF_ERROR(WriteTextFile(path("vocab.json"), ByteVocabulary()));
  PAMIR_RETURN_IF_ERROR(WriteTextFile(path("merges.txt"), "#version: 0.2\n"));
  PAMIR_RETURN_IF_ERROR(WriteTextFile(path("generation_config.json"), GenerationConfig(model)));
  spec::ModelSpec written = model;
  written.dtype = DType::kFloat16;
  PAMIR_RETURN_IF_ERROR(WriteTextFile(path("config.json"), spec::WriteModelConfig(written)));
  meter.Finish();
  return absl::OkStatus();
}

}  // namespace pamir::weights
