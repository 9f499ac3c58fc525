#include "cli/read_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"

namespace pamir::cli {

// C's functions, since a std::filebuf throws where the path is a directory.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  if (file == nullptr) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::string text;
  char piece[1 << 16];
  while (const size_t size = std::fread(piece, 1, sizeof piece, file.get())) {
    text.append(piece, size);
    if (text.size() > kMaxFileBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": has more than ", kMaxFileBytes, " bytes"));
    }
  }
  if (std::ferror(file.get()) == 0) return text;
  return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
}

}  // namespace pamir::cli
