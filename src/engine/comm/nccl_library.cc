// The one file that sees nccl.h, in builds that have it.
#include <dlfcn.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/comm/nccl_api.h"

namespace pamir::comm {
namespace {

constexpr char kLibrary[] = "libnccl.so.2";
constexpr int kOldest = NCCL_VERSION(2, 18, 0);

static_assert(kNcclInProgress == ncclInProgress);
static_assert(kNcclIdBytes == sizeof(ncclUniqueId));

// The library's own functions.
struct Functions {
  decltype(&ncclGetVersion) get_version;
  decltype(&ncclGetErrorString) get_error_string;
  decltype(&ncclGetLastError) get_last_error;
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) comm_init_rank_config;
  decltype(&ncclCommGetAsyncError) comm_get_async_error;
  decltype(&ncclCommFinalize) comm_finalize;
  decltype(&ncclCommDestroy) comm_destroy;
  decltype(&ncclCommAbort) comm_abort;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclAllGather) all_gather;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) recv;
};

// Written once, by the first OpenNccl, before anybody has a table that leads here.
Functions& Nccl() {
  static Functions functions;
  return functions;
}

ncclComm_t Of(void* comm) { return static_cast<ncclComm_t>(comm); }
cudaStream_t Of(StreamRef stream) { return static_cast<cudaStream_t>(stream.handle); }

int Init(void** comm, int ranks, const char* id, int rank) {
  ncclUniqueId unique;
  std::memcpy(&unique, id, sizeof(unique));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t made = nullptr;
  const ncclResult_t result = Nccl().comm_init_rank_config(&made, ranks, unique, rank, &config);
  *comm = made;
  return result;
}

NcclApi MakeApi(int version) {
  NcclApi api;
  api.version = version;
  api.error_text = [](int error) {
    return Nccl().get_error_string(static_cast<ncclResult_t>(error));
  };
  api.last_error = [](void* comm) { return Nccl().get_last_error(Of(comm)); };
  api.make_id = [](char* id) -> int {
    ncclUniqueId unique;
    const ncclResult_t result = Nccl().get_unique_id(&unique);
    std::memcpy(id, &unique, sizeof(unique));
    return result;
  };
  api.init = Init;
  api.async_error = [](void* comm, int* state) -> int {
    ncclResult_t result = ncclSuccess;
    const ncclResult_t asked = Nccl().comm_get_async_error(Of(comm), &result);
    *state = result;
    return asked;
  };
  api.finalize = [](void* comm) -> int { return Nccl().comm_finalize(Of(comm)); };
  api.destroy = [](void* comm) -> int { return Nccl().comm_destroy(Of(comm)); };
  api.abort = [](void* comm) -> int { return Nccl().comm_abort(Of(comm)); };
  api.group_start = []() -> int { return Nccl().group_start(); };
  api.group_end = []() -> int { return Nccl().group_end(); };
  api.all_gather = [](const void* mine, void* all, int64_t bytes, void* comm,
                      StreamRef stream) -> int {
    return Nccl().all_gather(mine, all, static_cast<size_t>(bytes), ncclInt8, Of(comm), Of(stream));
  };
  api.broadcast = [](void* data, int64_t bytes, int root, void* comm, StreamRef stream) -> int {
    return Nccl().broadcast(data, data, static_cast<size_t>(bytes), ncclInt8, root, Of(comm),
                            Of(stream));
  };
  api.send = [](const void* data, int64_t bytes, int peer, void* comm, StreamRef stream) -> int {
    return Nccl().send(data, static_cast<size_t>(bytes), ncclInt8, peer, Of(comm), Of(stream));
  };
  api.recv = [](void* data, int64_t bytes, int peer, void* comm, StreamRef stream) -> int {
    return Nccl().recv(data, static_cast<size_t>(bytes), ncclInt8, peer, Of(comm), Of(stream));
  };
  return api;
}

template <typename Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

bool FindAll(void* library, Functions* f) {
  return Find(library, "ncclGetVersion", &f->get_version) &&
         Find(library, "ncclGetErrorString", &f->get_error_string) &&
         Find(library, "ncclGetLastError", &f->get_last_error) &&
         Find(library, "ncclGetUniqueId", &f->get_unique_id) &&
         Find(library, "ncclCommInitRankConfig", &f->comm_init_rank_config) &&
         Find(library, "ncclCommGetAsyncError", &f->comm_get_async_error) &&
         Find(library, "ncclCommFinalize", &f->comm_finalize) &&
         Find(library, "ncclCommDestroy", &f->comm_destroy) &&
         Find(library, "ncclCommAbort", &f->comm_abort) &&
         Find(library, "ncclGroupStart", &f->group_start) &&
         Find(library, "ncclGroupEnd", &f->group_end) &&
         Find(library, "ncclAllGather", &f->all_gather) &&
         Find(library, "ncclBroadcast", &f->broadcast) && Find(library, "ncclSend", &f->send) &&
         Find(library, "ncclRecv", &f->recv);
}

absl::StatusOr<const NcclApi*> Open(const std::string& data_interface) {
  // NCCL reads it when it is first used. "=": this name, not whatever begins with it.
  const std::string interface = data_interface.empty() ? "lo" : data_interface;
  setenv("NCCL_SOCKET_IFNAME", ("=" + interface).c_str(), 1);
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);  // never closed: it owns threads
  if (library == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("NCCL cannot be opened (", std::string(dlerror()),
                     "); install NVIDIA's libnccl2 or name its folder in LD_LIBRARY_PATH"));
  }
  int version = 0;
  if (!FindAll(library, &Nccl()) || Nccl().get_version(&version) != ncclSuccess ||
      version < kOldest) {
    return absl::FailedPreconditionError(absl::StrCat("NCCL ", NcclVersionName(version),
                                                      " is too old; ", NcclVersionName(kOldest),
                                                      " or newer is needed"));
  }
  static const NcclApi api = MakeApi(version);
  return &api;
}

}  // namespace

absl::StatusOr<const NcclApi*> OpenNccl(const std::string& data_interface) {
  static const absl::StatusOr<const NcclApi*> opened = Open(data_interface);
  return opened;
}

}  // namespace pamir::comm
