// A Hugging Face directory of safetensors files.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <unordered_map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/weights/checkpoint_index.h"
#include "engine/weights/file.h"
#include "engine/weights/read_slice.h"
#include "engine/weights/safetensors_header.h"
#include "engine/weights/tensor_source.h"

namespace pamir::weights {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr size_t kMaxShards = 1024;

absl::Status WithFile(const absl::Status& status, const std::string& path) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", std::string(status.message())));
}

// Some files were saved from the model without its head, and lack the prefix.
std::string CanonicalName(const std::string& stored) {
  return absl::StartsWith(stored, "decoder.") ? "model." + stored : stored;
}

class Checkpoint final : public TensorSource {
 public:
  explicit Checkpoint(std::string directory) : directory_(std::move(directory)) {}

  absl::Status AddSingleFile() { return AddFile(kSingleFile).status(); }
  absl::Status AddIndexedFiles();

  absl::StatusOr<TensorInfo> Find(const std::string& name) const override {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) return Missing(name);
    return it->second.tensor.info;
  }

  absl::Status Read(const std::string& name, Range rows, Range columns, void* out) const override;

 private:
  struct Location {
    size_t file = 0;
    StoredTensor tensor;
  };

  absl::Status Missing(const std::string& name) const {
    return absl::NotFoundError(
        absl::StrCat("tensor \"", name, "\" is not in ", directory_, " (", files_.size(),
                     files_.size() == 1 ? " file, " : " files, ", tensors_.size(), " tensors)"));
  }

  absl::StatusOr<size_t> AddFile(const std::string& name);
  absl::Status AddTensor(size_t file, StoredTensor tensor);

  const std::string directory_;
  std::vector<File> files_;
  std::unordered_map<std::string, Location> tensors_;  // by canonical name
  // With an index: where it wants each stored name.
  std::map<std::string, std::string> shard_of_;
};

absl::StatusOr<std::vector<StoredTensor>> ReadHeader(const File& file) {
  uint8_t first[kHeaderLengthBytes] = {};
  PAMIR_RETURN_IF_ERROR(file.ReadAt(0, std::min<int64_t>(file.size(), kHeaderLengthBytes), first));
  absl::StatusOr<int64_t> length = HeaderLength(first, file.size());
  if (!length.ok()) return WithFile(length.status(), file.path());
  std::string json(static_cast<size_t>(*length), '\0');
  PAMIR_RETURN_IF_ERROR(file.ReadAt(kHeaderLengthBytes, *length, json.data()));
  absl::StatusOr<std::vector<StoredTensor>> tensors = ParseSafetensorsHeader(json, file.size());
  if (!tensors.ok()) return WithFile(tensors.status(), file.path());
  return tensors;
}

absl::StatusOr<size_t> Checkpoint::AddFile(const std::string& name) {
  PAMIR_ASSIGN_OR_RETURN(File file, File::Open(absl::StrCat(directory_, "/", name)));
  PAMIR_ASSIGN_OR_RETURN(std::vector<StoredTensor> tensors, ReadHeader(file));
  const size_t index = files_.size();
  files_.push_back(std::move(file));
  for (StoredTensor& tensor : tensors) {
    // A tensor that the index wants elsewhere, or not at all, is passed over.
    const auto wanted = shard_of_.find(tensor.name);
    if (!shard_of_.empty() && (wanted == shard_of_.end() || wanted->second != name)) continue;
    PAMIR_RETURN_IF_ERROR(AddTensor(index, std::move(tensor)));
  }
  return index;
}

absl::Status Checkpoint::AddTensor(size_t file, StoredTensor tensor) {
  const std::string name = CanonicalName(tensor.name);
  const std::string stored = tensor.name;
  const auto [it, added] = tensors_.emplace(name, Location{file, std::move(tensor)});
  if (added) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      files_[file].path(), ": tensor \"", EscapeForLog(stored, 100), "\" is there again as \"",
      EscapeForLog(it->second.tensor.name, 100), "\" in ", files_[it->second.file].path()));
}

absl::Status Checkpoint::AddIndexedFiles() {
  const std::string path = absl::StrCat(directory_, "/", kIndexFile);
  PAMIR_ASSIGN_OR_RETURN(const std::string json, File::ReadAll(path, kMaxIndexBytes));
  const absl::StatusOr<std::vector<IndexEntry>> index = ParseCheckpointIndex(json);
  if (!index.ok()) return WithFile(index.status(), path);
  std::map<std::string, size_t> shards;
  for (const IndexEntry& entry : *index) {
    shard_of_[entry.tensor] = entry.shard;
    shards[entry.shard] = 0;
  }
  if (shards.empty() || shards.size() > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": it names ", shards.size(), " files; there may be 1 to ", kMaxShards));
  }
  for (auto& [name, file] : shards) {
    absl::StatusOr<size_t> added = AddFile(name);
    if (absl::IsNotFound(added.status())) {
      return absl::NotFoundError(absl::StrCat(path, " names ", name, ", which is not in ",
                                              directory_, "; is the download complete?"));
    }
    PAMIR_RETURN_IF_ERROR(added.status());
    file = *added;
  }
  for (const IndexEntry& entry : *index) {
    const auto it = tensors_.find(CanonicalName(entry.tensor));
    if (it != tensors_.end() && it->second.file == shards[entry.shard]) continue;
    return absl::NotFoundError(absl::StrCat(path, " says that tensor \"",
                                            EscapeForLog(entry.tensor, 100), "\" is in ",
                                            entry.shard, ", but that file does not hold it"));
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::Read(const std::string& name, Range rows, Range columns, void* out) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) return Missing(name);
  const File& file = files_[it->second.file];
  const absl::Status status = ReadSlice(file, it->second.tensor, rows, columns, out);
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("tensor \"", name, "\" of ", file.path(), ": ",
                                                  std::string(status.message())));
}

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& directory) {
  DIR* const handle = opendir(directory.c_str());
  if (handle == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read the directory ", directory));
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(handle)) names.push_back(entry->d_name);
  closedir(handle);
  std::sort(names.begin(), names.end());
  return names;
}

// Says what the directory holds instead.
absl::Status NoCheckpoint(const std::string& directory, const std::vector<std::string>& names) {
  std::vector<std::string> pickles, others;
  for (const std::string& name : names) {
    if (absl::EndsWith(name, ".bin") || absl::EndsWith(name, ".pt")) pickles.push_back(name);
    if (absl::EndsWith(name, ".safetensors")) others.push_back(name);
  }
  const std::string wanted =
      absl::StrCat(directory, " has neither ", kSingleFile, " nor ", kIndexFile);
  if (!others.empty()) {
    return absl::NotFoundError(absl::StrCat(wanted, ", only ", others.front(), " and ",
                                            others.size() - 1, " more; rename the one file to ",
                                            kSingleFile, ", or add the index"));
  }
  if (!pickles.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        wanted, ", only PyTorch files (", pickles.front(),
        "). Those can run code while they are read, so Pamir does not open them; convert them "
        "once with scripts/convert-bin ",
        directory));
  }
  return absl::NotFoundError(absl::StrCat(wanted, "; is it a model's directory?"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TensorSource>> OpenCheckpoint(const std::string& directory) {
  PAMIR_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  auto checkpoint = std::make_unique<Checkpoint>(directory);
  if (Exists(absl::StrCat(directory, "/", kSingleFile))) {
    PAMIR_RETURN_IF_ERROR(checkpoint->AddSingleFile());
  } else if (Exists(absl::StrCat(directory, "/", kIndexFile))) {
    PAMIR_RETURN_IF_ERROR(checkpoint->AddIndexedFiles());
  } else {
    return NoCheckpoint(directory, names);
  }
  return std::unique_ptr<TensorSource>(std::move(checkpoint));
}

}  // namespace pamir::weights
