// NCCL as one table of plain functions, for the same reasons as kernels/cuda/cuda_api.h: its
// header stays in one file, the program starts where the library is missing, and tests bring a
// table of their own.
//
// Functions that return int give 0, kNcclInProgress or another ncclResult_t. A communicator is made
// non-blocking: a call that says "in progress" goes on in a thread of NCCL's, and the next call
// waits until async_error no longer says so.
#ifndef PAMIR_ENGINE_COMM_NCCL_API_H_
#define PAMIR_ENGINE_COMM_NCCL_API_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/stream.h"

namespace pamir::comm {

inline constexpr int kNcclInProgress = 7;  // ncclInProgress
inline constexpr int kNcclIdBytes = 128;

struct NcclApi {
  int version = 0;  // 22809 for 2.28.9
  const char* (*error_text)(int error) = nullptr;
  const char* (*last_error)(void* comm) = nullptr;  // more words; comm may be null

  int (*make_id)(char* id) = nullptr;  // [kNcclIdBytes]; opens a socket that the ranks meet at
  // The calling thread's device. All ranks of the group, each with the same id.
  int (*init)(void** comm, int ranks, const char* id, int rank) = nullptr;
  int (*async_error)(void* comm, int* state) = nullptr;
  int (*finalize)(void* comm) = nullptr;
  int (*destroy)(void* comm) = nullptr;
  int (*abort)(void* comm) = nullptr;  // ends kernels that wait for peers, and `comm`

  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*all_gather)(const void* mine, void* all, int64_t bytes, void* comm,
                    StreamRef stream) = nullptr;
  int (*broadcast)(void* data, int64_t bytes, int root, void* comm, StreamRef stream) = nullptr;
  int (*send)(const void* data, int64_t bytes, int peer, void* comm, StreamRef stream) = nullptr;
  int (*recv)(void* data, int64_t bytes, int peer, void* comm, StreamRef stream) = nullptr;
};

// "2.28.9"
std::string NcclVersionName(int version);

// Opens libnccl.so.2, once a process. NCCL's sockets keep to data_interface (empty: loopback), that
// of the first call. NOT_FOUND: the build has no NCCL, or the library cannot be opened (the
// loader's words are in the message); FAILED_PRECONDITION: it is too old.
absl::StatusOr<const NcclApi*> OpenNccl(const std::string& data_interface);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_NCCL_API_H_
