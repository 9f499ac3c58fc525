#include "engine/weights/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::weights {

absl::StatusOr<File> File::Open(const std::string& path) {
  File file;
  file.path_ = path;
  // O_NONBLOCK: opening a named pipe must not hang; it means nothing for regular files.
  file.fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  struct stat info;
  if (fstat(file.fd_, &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot examine ", path));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  file.size_ = info.st_size;
  return file;
}

absl::StatusOr<std::string> File::ReadAll(const std::string& path, int64_t max_bytes) {
  PAMIR_ASSIGN_OR_RETURN(const File file, Open(path));
  if (file.size() > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, " has ", file.size(), " bytes; at most ", max_bytes, " are read"));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  PAMIR_RETURN_IF_ERROR(file.ReadAt(0, file.size(), text.data()));
  return text;
}

File::~File() {
  if (fd_ >= 0) close(fd_);
}

absl::Status File::ReadAt(int64_t offset, int64_t bytes, void* out) const {
  char* to = static_cast<char*>(out);
  for (int64_t done = 0; done < bytes;) {
    const ssize_t n = pread(fd_, to + done, static_cast<size_t>(bytes - done), offset + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return absl::ErrnoToStatus(errno,
                                 absl::StrCat("cannot read ", path_, " at byte ", offset + done));
    }
    if (n == 0) {
      return absl::DataLossError(absl::StrCat(path_, " ends at byte ", offset + done, " while ",
                                              bytes - done, " more bytes are wanted; it had ",
                                              size_, " when it was opened"));
    }
    done += n;
  }
  return absl::OkStatus();
}

}  // namespace pamir::weights
