#include "support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace pamir::testing {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& s : strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

Process::Process(const std::vector<std::string>& argv,
                 const std::vector<std::string>& environment) {
  char name[] = "/tmp/pamir-test-XXXXXX";
  const int errors = mkostemp(name, O_CLOEXEC);
  int pipe_fds[2];
  if (errors < 0 || pipe2(pipe_fds, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  error_path_ = name;
  std::vector<std::string> arguments = argv, variables;
  for (char** v = environ; *v != nullptr; ++v) variables.push_back(*v);
  variables.insert(variables.end(), environment.begin(), environment.end());
  const std::vector<char*> arg_pointers = Pointers(arguments), env_pointers = Pointers(variables);

  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("cannot fork");
  if (pid_ == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(pipe_fds[1], STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    execvpe(arg_pointers[0], arg_pointers.data(), env_pointers.data());
    _exit(127);
  }
  close(errors);
  close(pipe_fds[1]);
  output_fd_ = pipe_fds[0];
}

Process::~Process() {
  if (!WaitForExit(std::chrono::seconds(0))) {
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
    WaitForExit(std::chrono::seconds(30));
  }
  close(output_fd_);
  std::filesystem::remove(error_path_);
}

void Process::Signal(int number) const { kill(pid_, number); }

bool Process::ReadSome(std::chrono::steady_clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      until - std::chrono::steady_clock::now());
  pollfd poll_fd{output_fd_, POLLIN, 0};
  if (left.count() <= 0 || poll(&poll_fd, 1, static_cast<int>(left.count())) <= 0) return false;
  char bytes[4096];
  const ssize_t count = read(output_fd_, bytes, sizeof bytes);
  if (count <= 0) return false;
  output_.append(bytes, static_cast<size_t>(count));
  return true;
}

std::optional<std::string> Process::WaitForLine(const std::string& prefix,
                                                std::chrono::seconds timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  while (true) {
    for (size_t end; (end = output_.find('\n', line_start_)) != std::string::npos;) {
      const std::string line = output_.substr(line_start_, end - line_start_);
      line_start_ = end + 1;
      if (line.rfind(prefix, 0) == 0) return line.substr(prefix.size());
    }
    if (!ReadSome(until)) return std::nullopt;
  }
}

std::optional<int> Process::WaitForExit(std::chrono::seconds timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  while (!status_) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      break;
    }
    if (std::chrono::steady_clock::now() >= until) return std::nullopt;
    // Its output is read meanwhile, so that a full pipe does not keep it from ending.
    const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(10);
    if (!ReadSome(std::min(soon, until))) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  while (ReadSome(std::chrono::steady_clock::now() + std::chrono::milliseconds(50))) {
  }
  return status_;
}

std::string Process::errors() const { return ReadAll(error_path_); }

Finished RunToEnd(const std::vector<std::string>& argv, std::chrono::seconds timeout) {
  Process process(argv);
  const std::optional<int> status = process.WaitForExit(timeout);
  return {status.value_or(-1), process.output(), process.errors()};
}

TemporaryDirectory::TemporaryDirectory() {
  char name[] = "/tmp/pamir-test-XXXXXX";
  if (mkdtemp(name) == nullptr) throw std::runtime_error("no temporary directory");
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace pamir::testing
