#include "engine/comm/host_identity.h"

#include <limits.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "engine/comm/communicator.h"

namespace pamir::comm {
namespace {

// "net:[4026531840]"; empty where /proc does not say.
std::string Namespace(const char* kind) {
  char target[PATH_MAX];
  const std::string path = absl::StrCat("/proc/self/ns/", kind);
  const ssize_t bytes = readlink(path.c_str(), target, sizeof(target));
  return bytes > 0 ? std::string(target, static_cast<size_t>(bytes)) : "";
}

}  // namespace

std::string MachineIdentity() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  if (!id.empty()) return id;
  char name[HOST_NAME_MAX + 1] = {};
  gethostname(name, HOST_NAME_MAX);
  return name;
}

std::string LoopbackIdentity() { return absl::StrCat(MachineIdentity(), " ", Namespace("net")); }

std::string HostIdentity() {
  // A segment is opened through /proc/<pid>/fd: the number must mean the same process, and the
  // kernel lets only the same user do it.
  return absl::StrCat(LoopbackIdentity(), " ", Namespace("pid"), " uid:", geteuid());
}

}  // namespace pamir::comm
