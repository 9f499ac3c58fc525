#include "engine/weights/shard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/weights/safetensors_header.h"

namespace pamir::weights {
namespace {

constexpr int64_t kBufferBytes = 4 * kMiB;

class NewFile {
 public:
  explicit NewFile(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
    if (fd_ < 0) error_ = absl::ErrnoToStatus(errno, absl::StrCat("cannot make ", path));
  }
  ~NewFile() {
    if (fd_ >= 0) close(fd_);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  absl::Status Write(const char* data, int64_t bytes) {
    while (error_.ok() && bytes > 0) {
      const ssize_t n = write(fd_, data, static_cast<size_t>(bytes));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        error_ = absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path_));
        break;
      }
      data += n;
      bytes -= n;
    }
    return error_;
  }

  // A full disk may show only here.
  absl::Status Close() {
    const int fd = std::exchange(fd_, -1);
    if (error_.ok() && close(fd) != 0) {
      error_ = absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path_));
    }
    return error_;
  }

 private:
  const std::string path_;
  int fd_;
  absl::Status error_;
};

}  // namespace

std::string Fp16ShardHeader(const std::vector<spec::TensorSpec>& tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  int64_t offset = 0;
  for (const spec::TensorSpec& tensor : tensors) {
    const int64_t end = offset + 2 * tensor.elements();
    header[tensor.name] = {
        {"dtype", "F16"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string json = header.dump();
  json.resize(RoundUp(static_cast<int64_t>(json.size()), 8), ' ');
  std::string bytes;
  for (int i = 0; i < kHeaderLengthBytes; ++i) {
    bytes.push_back(static_cast<char>(json.size() >> (8 * i) & 0xFF));
  }
  return bytes + json;
}

absl::Status WriteFp16Shard(const std::string& path, const std::vector<spec::TensorSpec>& tensors,
                            const TensorSource& source, ProgressMeter& meter) {
  NewFile file(path);
  const std::string header = Fp16ShardHeader(tensors);
  PAMIR_RETURN_IF_ERROR(file.Write(header.data(), static_cast<int64_t>(header.size())));
  const auto buffer = std::make_unique_for_overwrite<char[]>(kBufferBytes);
  for (const spec::TensorSpec& tensor : tensors) {
    const int64_t columns = tensor.shape.size() == 1 ? 1 : tensor.shape[1];
    const int64_t at_once = kBufferBytes / (2 * columns);
    for (int64_t row = 0; row < tensor.shape[0]; row += at_once) {
      const Range rows{row, std::min(tensor.shape[0], row + at_once)};
      PAMIR_RETURN_IF_ERROR(source.Read(tensor.name, rows, {0, columns}, buffer.get()));
      const int64_t bytes = 2 * rows.size() * columns;
      PAMIR_RETURN_IF_ERROR(file.Write(buffer.get(), bytes));
      meter.Add(bytes);
    }
  }
  return file.Close();
}

absl::Status WriteTextFile(const std::string& path, const std::string& text) {
  NewFile file(path);
  PAMIR_RETURN_IF_ERROR(file.Write(text.data(), static_cast<int64_t>(text.size())));
  return file.Close();
}

}  // namespace pamir::weights
