// The local workers of `pamir serve`: child processes that end when their parent does.
#ifndef PAMIR_CLI_CHILDREN_H_
#define PAMIR_CLI_CHILDREN_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace pamir::cli {

class Children {
 public:
  Children() = default;
  // Asks those that still run to end (SIGTERM), then ends them (SIGKILL) after a grace period.
  ~Children();
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  // Starts this program once more with `args`, and `environment` ("NAME=value") added to its own,
  // of which PAMIR_* (flags of this process) are left out, but for PAMIR_LOG_LEVEL and
  // PAMIR_CUDA_MODULE.
  // The child gets SIGTERM from the kernel when its parent's thread that called this dies.
  absl::Status Start(const std::vector<std::string>& args,
                     const std::vector<std::string>& environment);

  // One that has ended since the last call: "worker process 123 was killed by signal 9". None
  // should before it is told to, not even with status 0.
  std::optional<std::string> Failed();

  // Waits until all have ended; false where some still run after `timeout`.
  bool WaitForAll(absl::Duration timeout);

 private:
  std::optional<std::string> Reap(size_t index);

  std::vector<pid_t> running_;
};

}  // namespace pamir::cli

#endif  // PAMIR_CLI_CHILDREN_H_
