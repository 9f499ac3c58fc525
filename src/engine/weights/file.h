// A file that is read at offsets by any number of threads. Never mapped: a file that shrinks while
// it is mapped kills the process; here it gives an error.
#ifndef PAMIR_ENGINE_WEIGHTS_FILE_H_
#define PAMIR_ENGINE_WEIGHTS_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pamir::weights {

class File {
 public:
  // A regular file (or a link to one). Errors name the path.
  static absl::StatusOr<File> Open(const std::string& path);
  // The whole of a small file; RESOURCE_EXHAUSTED above `max_bytes`.
  static absl::StatusOr<std::string> ReadAll(const std::string& path, int64_t max_bytes);

  ~File();
  File(File&& other) noexcept { *this = std::move(other); }
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(size_, other.size_);
    std::swap(path_, other.path_);
    return *this;
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // when it was opened

  // All of [offset, offset + bytes), or an error that names path and offset.
  absl::Status ReadAt(int64_t offset, int64_t bytes, void* out) const;

 private:
  File() = default;

  int fd_ = -1;
  int64_t size_ = 0;
  std::string path_;
};

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_FILE_H_
