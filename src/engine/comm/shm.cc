#include "engine/comm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::comm {
namespace {

// With these seals nobody can shrink the file under a mapping (which would kill with SIGBUS).
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

std::string Why() { return strerror(errno); }

absl::StatusOr<std::shared_ptr<void>> Map(int fd, size_t bytes) {
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (base == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("mapping ", bytes, " bytes of shared memory: ", Why()));
  }
  return std::shared_ptr<void>(base, [bytes](void* p) { munmap(p, bytes); });
}

// A handle on a process that stays right when its number is used again.
OwnedFd OpenProcess(int pid) {
#ifdef SYS_pidfd_open
  return OwnedFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
#else
  return OwnedFd();
#endif
}

bool HasEnded(const OwnedFd& process, int pid) {
  if (process.get() >= 0) {
    pollfd poll_fd{process.get(), POLLIN, 0};
    return poll(&poll_fd, 1, 0) == 1;
  }
  // Old kernels, and containers whose system call filter does not know pidfd_open.
  return kill(pid, 0) == -1 && errno == ESRCH;
}

}  // namespace

absl::StatusOr<OwnedFd> MakeSegment(const RegionShape& shape) {
  const size_t bytes = RegionBytes(shape);
  OwnedFd fd(memfd_create("pamir-comm", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd.get() < 0) return absl::UnavailableError(absl::StrCat("memfd_create: ", Why()));
  // posix_fallocate, so that memory which is not there fails here and not at some later write.
  if (const int error = posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("allocating ", bytes, " bytes of shared memory: ", strerror(error)));
  }
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals) == -1) {
    return absl::UnavailableError(absl::StrCat("sealing shared memory: ", Why()));
  }
  PAMIR_ASSIGN_OR_RETURN(std::shared_ptr<void> base, Map(fd.get(), bytes));
  Region::Create(std::move(base), shape);
  return fd;
}

absl::StatusOr<Region> MapSegment(int pid, int fd, const RegionShape& shape) {
  const std::string path = absl::StrCat("/proc/", pid, "/fd/", fd);
  const OwnedFd mine(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (mine.get() < 0) {
    return absl::UnavailableError(
        absl::StrCat("opening the shared memory of process ", pid, " (", path, "): ", Why(),
                     "; ranks of one host must run as the same user, with /proc mounted"));
  }
  struct stat info {};
  const bool sealed = fcntl(mine.get(), F_GET_SEALS) == kSeals;
  if (!sealed || fstat(mine.get(), &info) != 0 ||
      static_cast<size_t>(info.st_size) != RegionBytes(shape)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not the shared memory of this group: ", info.st_size, " bytes, ",
                     RegionBytes(shape), " expected"));
  }
  PAMIR_ASSIGN_OR_RETURN(std::shared_ptr<void> base, Map(mine.get(), RegionBytes(shape)));
  PAMIR_RETURN_IF_ERROR(Region::Check(base.get(), shape));
  return Region(std::move(base), shape);
}

PeerCheck WatchProcesses(const GroupInfo& group, const std::vector<int>& pids) {
  struct Watched {
    GroupInfo group;
    std::vector<int> pids;
    std::vector<OwnedFd> handles;
  };
  auto watched = std::make_shared<Watched>();
  watched->group = group;
  watched->pids = pids;
  for (int pid : pids) watched->handles.push_back(OpenProcess(pid));
  return [watched](int rank) {
    const auto r = static_cast<size_t>(rank);
    if (!HasEnded(watched->handles[r], watched->pids[r])) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat(watched->group.RankName(rank), " (pid ", watched->pids[r], ") has ended"));
  };
}

}  // namespace pamir::comm
