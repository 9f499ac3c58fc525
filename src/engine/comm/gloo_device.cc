#include <ifaddrs.h>
#include <sys/socket.h>

#include <exception>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/comm/gloo_mesh.h"
#include "gloo/transport/tcp/device.h"

namespace pamir::comm {
namespace {

// Names of this host's interfaces with an address of the family; AF_UNSPEC: of either.
std::set<std::string> InterfacesWithAddress(int family) {
  std::set<std::string> names;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return names;
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr) continue;
    const int theirs = at->ifa_addr->sa_family;
    const bool either = family == AF_UNSPEC && (theirs == AF_INET || theirs == AF_INET6);
    if (either || theirs == family) names.insert(at->ifa_name);
  }
  freeifaddrs(list);
  return names;
}

absl::Status NoSuchInterface(const std::string& name) {
  std::string known;
  for (const std::string& other : InterfacesWithAddress(AF_UNSPEC)) {
    absl::StrAppend(&known, known.empty() ? "" : ", ", other);
  }
  return absl::InvalidArgumentError(absl::StrCat("--data-interface ", name,
                                                 ": no interface of this name has an address "
                                                 "here; this host has ",
                                                 known));
}

}  // namespace

absl::StatusOr<GlooDevice> OpenGlooDevice(const std::string& data_interface) {
  gloo::transport::tcp::attr attr;
  if (data_interface.empty()) {
    attr.hostname = "127.0.0.1";
  } else if (InterfacesWithAddress(AF_UNSPEC).count(data_interface) == 0) {
    return NoSuchInterface(data_interface);
  } else {
    // All ranks must choose the same family, so not whichever the kernel lists first.
    attr.iface = data_interface;
    attr.ai_family = InterfacesWithAddress(AF_INET).count(data_interface) > 0 ? AF_INET : AF_INET6;
  }
  try {
    return gloo::transport::tcp::CreateDevice(attr);
  } catch (const std::exception& e) {
    return absl::UnavailableError(absl::StrCat("opening network interface ",
                                               data_interface.empty() ? "lo" : data_interface, ": ",
                                               e.what()));
  }
}

}  // namespace pamir::comm
