// NCCL between threads of one process, over a FakeCuda's memory: enough to run our communicator's
// logic. Messages travel when somebody asks for the state, as NCCL's do in a thread of its own; an
// operation is "in progress" until its receives have come.
#ifndef PAMIR_TESTS_UNIT_COMM_FAKE_NCCL_H_
#define PAMIR_TESTS_UNIT_COMM_FAKE_NCCL_H_

#include <memory>

#include "engine/comm/nccl_api.h"
#include "kernels/cuda/cuda_api.h"

namespace pamir::comm {

inline constexpr int kNcclRemoteError = 6;

// One at a time in a process; outlives the communicators.
class FakeNccl {
 public:
  explicit FakeNccl(const kernels::CudaApi* cuda);
  ~FakeNccl();
  FakeNccl(const FakeNccl&) = delete;
  FakeNccl& operator=(const FakeNccl&) = delete;

  const NcclApi* api() const { return &api_; }
  // From now on rank r of each group meets `error`, as where a peer has died.
  void Break(int rank, int error);
  int aborts() const;     // of communicators
  int destroyed() const;  // the others
  int alive() const;

  struct State;

 private:
  NcclApi api_;
  std::unique_ptr<State> state_;
};

}  // namespace pamir::comm

#endif  // PAMIR_TESTS_UNIT_COMM_FAKE_NCCL_H_
