// A program that a test starts, reads from, signals and waits for. Ends with the test.
#ifndef PAMIR_TESTS_SUPPORT_PROCESS_H_
#define PAMIR_TESTS_SUPPORT_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace pamir::testing {

class Process {
 public:
  // argv[0] is looked up in PATH where it has no slash. `environment`: "NAME=value" to add.
  explicit Process(const std::vector<std::string>& argv,
                   const std::vector<std::string>& environment = {});
  ~Process();  // SIGKILL to its process group if it still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int number) const;

  // Reads standard output until a line begins with `prefix`, and returns the rest of that line.
  // Nothing where the process ends or `timeout` passes first.
  std::optional<std::string> WaitForLine(const std::string& prefix, std::chrono::seconds timeout);

  // Exit status, or 128 + the signal that killed it; nothing where it still runs after `timeout`.
  std::optional<int> WaitForExit(std::chrono::seconds timeout);

  // All that came so far.
  const std::string& output() const { return output_; }
  std::string errors() const;

 private:
  bool ReadSome(std::chrono::steady_clock::time_point until);

  pid_t pid_ = -1;
  int output_fd_ = -1;
  std::string error_path_;
  std::string output_;
  size_t line_start_ = 0;
  std::optional<int> status_;
};

struct Finished {
  int status = -1;  // -1: it did not end in time
  std::string output;
  std::string errors;
};

// Runs a program to its end.
Finished RunToEnd(const std::vector<std::string>& argv,
                  std::chrono::seconds timeout = std::chrono::seconds(60));

// A fresh directory under the system's temporary one; removed with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_PROCESS_H_
