// Small files that the command line names: configurations, vocabularies, prompts.
#ifndef PAMIR_CLI_READ_FILE_H_
#define PAMIR_CLI_READ_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace pamir::cli {

// Far above any vocabulary; what is larger is the wrong file.
inline constexpr size_t kMaxFileBytes = 64u << 20;

// The whole file, or an error that names it and the reason.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace pamir::cli

#endif  // PAMIR_CLI_READ_FILE_H_
