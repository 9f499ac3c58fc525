#include "unit/comm/rank_harness.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <memory>
#include <thread>
#include <utility>

namespace pamir::comm {
namespace {

GroupOptions ForRank(Way way, const RunOptions& run, int rank) {
  GroupOptions options;
  options.world_rank = rank;
  options.stage_of_rank = run.stage_of_rank;
  options.transport = OverGloo(way) ? Transport::kGloo : Transport::kShm;
  options.timeout = run.timeout;
  options.max_message_bytes = run.max_message_bytes;
  options.spin = run.spin;
  return options;
}

std::string ConnectAndRun(Way way, const RunOptions& run, int rank, const ExchangeFn& exchange,
                          const RankBody& body) {
  GroupOptions options = ForRank(way, run, rank);
  if (run.prepare) {
    const absl::Status prepared = run.prepare(options);
    if (!prepared.ok()) return "preparing: " + prepared.ToString();
  }
  absl::StatusOr<Groups> groups = ConnectGroups(options, exchange);
  if (!groups.ok()) return "connecting: " + groups.status().ToString();
  RankContext context{rank, *groups, exchange};
  return body(context);
}

// ThreadGroups as ConnectGroups would give them.
std::vector<Groups> ThreadGroups(const RunOptions& run) {
  std::vector<Groups> all(run.stage_of_rank.size());
  auto world = ThreadGroup(static_cast<int>(all.size()), run.timeout);
  for (size_t r = 0; r < all.size(); ++r) all[r].world = std::move(world[r]);
  for (size_t first = 0; first < all.size(); ++first) {
    if (all[first].stage != nullptr) continue;
    std::vector<size_t> members;
    for (size_t r = first; r < all.size(); ++r) {
      if (run.stage_of_rank[r] == run.stage_of_rank[first]) members.push_back(r);
    }
    auto stage = ThreadGroup(static_cast<int>(members.size()), run.timeout);
    for (size_t i = 0; i < members.size(); ++i) all[members[i]].stage = std::move(stage[i]);
  }
  return all;
}

std::vector<std::string> RunThreads(Way way, const RunOptions& run, const RankBody& body) {
  const size_t n = run.stage_of_rank.size();
  const std::vector<ExchangeFn> exchanges = ThreadExchange(static_cast<int>(n));
  std::vector<Groups> groups;
  if (way == Way::kThreads) groups = ThreadGroups(run);
  std::vector<std::string> results(n);
  std::vector<std::thread> threads;
  for (size_t r = 0; r < n; ++r) {
    threads.emplace_back([&, r] {
      const int rank = static_cast<int>(r);
      if (way == Way::kThreads) {
        RankContext context{rank, groups[r], exchanges[r]};
        results[r] = body(context);
      } else {
        results[r] = ConnectAndRun(way, run, rank, exchanges[r], body);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

// Between a forked rank and the test: a kind, a length, bytes.
constexpr char kExchange = 'x', kResult = 'r';

bool WriteAll(int fd, const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

bool ReadAll(int fd, void* data, size_t bytes) {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = read(fd, at, bytes);
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

bool WriteFrame(int fd, char kind, const std::string& s) {
  const uint32_t size = static_cast<uint32_t>(s.size());
  return WriteAll(fd, &kind, 1) && WriteAll(fd, &size, sizeof(size)) &&
         WriteAll(fd, s.data(), size);
}

bool ReadFrame(int fd, char* kind, std::string* s) {
  uint32_t size = 0;
  if (!ReadAll(fd, kind, 1) || !ReadAll(fd, &size, sizeof(size))) return false;
  s->resize(size);
  return ReadAll(fd, s->data(), size);
}

ExchangeFn ExchangeThrough(int fd, size_t n) {
  return [fd, n](const std::string& mine) -> absl::StatusOr<std::vector<std::string>> {
    std::vector<std::string> all(n);
    bool good = WriteFrame(fd, kExchange, mine);
    char kind;
    for (size_t r = 0; r < n && good; ++r) good = ReadFrame(fd, &kind, &all[r]);
    if (!good) return absl::UnavailableError("the test's exchange has ended");
    return all;
  };
}

// The middle of the exchange. Ranks that have ended no longer take part.
class Hub {
 public:
  explicit Hub(std::vector<int> fds) : fds_(std::move(fds)), results_(fds_.size(), kKilled) {}

  std::vector<std::string> Run() {
    while (Round()) {
    }
    return results_;
  }

 private:
  // One frame from each rank that lives: results end it, exchanged strings go to all.
  bool Round() {
    std::vector<std::string> strings(fds_.size());
    bool any = false;
    for (size_t r = 0; r < fds_.size(); ++r) {
      if (fds_[r] < 0) continue;
      char kind = 0;
      const bool read = ReadFrame(fds_[r], &kind, &strings[r]);
      if (read && kind == kExchange) {
        any = true;
        continue;
      }
      if (read) results_[r] = strings[r];
      close(fds_[r]);
      fds_[r] = -1;
    }
    for (int fd : fds_) {
      for (const std::string& s : strings) {
        if (fd >= 0) WriteFrame(fd, kExchange, s);
      }
    }
    return any;
  }

  std::vector<int> fds_;  // -1: ended
  std::vector<std::string> results_;
};

std::vector<std::string> RunProcesses(Way way, const RunOptions& run, const RankBody& body) {
  const size_t n = run.stage_of_rank.size();
  std::vector<int> fds;
  std::vector<pid_t> pids;
  for (size_t r = 0; r < n; ++r) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return {};
    const pid_t pid = fork();
    if (pid == 0) {
      for (int fd : fds) close(fd);
      close(ends[0]);
      const std::string result =
          ConnectAndRun(way, run, static_cast<int>(r), ExchangeThrough(ends[1], n), body);
      WriteFrame(ends[1], kResult, result);
      _exit(0);
    }
    close(ends[1]);
    fds.push_back(ends[0]);
    pids.push_back(pid);
  }
  std::vector<std::string> results = Hub(std::move(fds)).Run();
  for (pid_t pid : pids) waitpid(pid, nullptr, 0);
  return results;
}

}  // namespace

const char* Name(Way way) {
  switch (way) {
    case Way::kThreads:
      return "Threads";
    case Way::kShmThreads:
      return "ShmThreads";
    case Way::kShmProcesses:
      return "ShmProcesses";
    case Way::kGlooThreads:
      return "GlooThreads";
    case Way::kGlooProcesses:
      return "GlooProcesses";
  }
  return "";
}

bool InProcesses(Way way) { return way == Way::kShmProcesses || way == Way::kGlooProcesses; }
bool OverGloo(Way way) { return way == Way::kGlooThreads || way == Way::kGlooProcesses; }

RunOptions OneStage(int n) {
  RunOptions options;
  options.stage_of_rank.assign(static_cast<size_t>(n), 0);
  return options;
}

std::vector<ExchangeFn> ThreadExchange(int n) {
  struct Table {
    explicit Table(int n) : strings(static_cast<size_t>(n)), barrier(n) {}
    std::vector<std::string> strings;
    std::barrier<> barrier;
  };
  auto table = std::make_shared<Table>(n);
  std::vector<ExchangeFn> exchanges;
  for (size_t r = 0; r < static_cast<size_t>(n); ++r) {
    exchanges.push_back(
        [table, r](const std::string& mine) -> absl::StatusOr<std::vector<std::string>> {
          table->strings[r] = mine;
          table->barrier.arrive_and_wait();
          std::vector<std::string> all = table->strings;
          table->barrier.arrive_and_wait();  // nobody overwrites before all have read
          return all;
        });
  }
  return exchanges;
}

std::vector<std::string> RunRanks(Way way, const RunOptions& options, const RankBody& body) {
  return InProcesses(way) ? RunProcesses(way, options, body) : RunThreads(way, options, body);
}

}  // namespace pamir::comm
