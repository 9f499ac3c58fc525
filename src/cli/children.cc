#include "cli/children.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace pamir::cli {
namespace {

constexpr absl::Duration kGrace = absl::Seconds(5);

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& s : strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

bool StartsWith(const char* variable, const std::string& prefix) {
  return std::strncmp(variable, prefix.c_str(), prefix.size()) == 0;
}

// Not flags: a child needs them as its parent does.
constexpr const char* kKept[] = {"PAMIR_LOG_LEVEL=", "PAMIR_CUDA_MODULE="};

bool IsKept(const char* variable) {
  return std::any_of(std::begin(kKept), std::end(kKept),
                     [&](const char* kept) { return StartsWith(variable, kept); });
}

// What a child takes over. PAMIR_* stand for flags of this process: a child has its own, and with a
// second PAMIR_JOIN_TOKEN behind ours it would see the first.
std::vector<std::string> InheritedEnvironment() {
  std::vector<std::string> inherited;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (StartsWith(*variable, "PAMIR_") && !IsKept(*variable)) continue;
    inherited.push_back(*variable);
  }
  return inherited;
}

}  // namespace

absl::Status Children::Start(const std::vector<std::string>& args,
                             const std::vector<std::string>& environment) {
  std::vector<std::string> arguments = {"pamir"};
  arguments.insert(arguments.end(), args.begin(), args.end());
  std::vector<std::string> variables = InheritedEnvironment();
  variables.insert(variables.end(), environment.begin(), environment.end());
  const std::vector<char*> argv = Pointers(arguments), envp = Pointers(variables);

  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot start a worker process: ", std::strerror(errno)));
  }
  if (child == 0) {  // only async-signal-safe calls from here on
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    setpgid(0, 0);  // Ctrl-C in a terminal reaches the parent only, which drains
    execve("/proc/self/exe", argv.data(), envp.data());
    _exit(127);
  }
  running_.push_back(child);
  return absl::OkStatus();
}

std::optional<std::string> Children::Reap(size_t index) {
  int status = 0;
  const pid_t pid = running_[index];
  if (waitpid(pid, &status, WNOHANG) != pid) return std::nullopt;
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(index));
  if (WIFSIGNALED(status)) {
    return absl::StrCat("worker process ", pid, " was killed by signal ", WTERMSIG(status));
  }
  return absl::StrCat("worker process ", pid, " ended with status ", WEXITSTATUS(status));
}

std::optional<std::string> Children::Failed() {
  for (size_t i = 0; i < running_.size();) {
    const std::optional<std::string> ended = Reap(i);
    if (!ended) {
      ++i;
    } else {
      return ended;
    }
  }
  return std::nullopt;
}

bool Children::WaitForAll(absl::Duration timeout) {
  const absl::Time until = absl::Now() + timeout;
  while (true) {
    for (size_t i = 0; i < running_.size();) {
      if (!Reap(i)) ++i;
    }
    if (running_.empty()) return true;
    if (absl::Now() >= until) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
}

Children::~Children() {
  if (WaitForAll(absl::ZeroDuration())) return;
  for (const pid_t pid : running_) kill(pid, SIGTERM);
  if (WaitForAll(kGrace)) return;
  for (const pid_t pid : running_) kill(pid, SIGKILL);
  WaitForAll(absl::InfiniteDuration());
}

}  // namespace pamir::cli
