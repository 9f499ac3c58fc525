#include "unit/comm/fake_nccl.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace pamir::comm {
namespace {

constexpr int kCudaError = 1;  // ncclUnhandledCudaError

using Message = std::vector<char>;

// The ranks that an id has brought together.
struct Group {
  int size = 0;
  std::set<int> joined;
  std::map<std::pair<int, int>, std::deque<Message>> mail;  // {from, to}
};

struct Receive {
  int from;
  char* to;
  size_t bytes;
  StreamRef stream;
};

struct Comm {
  Group* group;
  int rank;
  std::deque<Receive> pending;
};

// What a thread has called since group_start, to be done at group_end.
struct Call {
  bool send;
  Comm* comm;
  int peer;
  char* data;
  size_t bytes;
  StreamRef stream;
};
thread_local std::vector<Call> calls;
thread_local bool grouped = false;

[[noreturn]] void Die(const char* why) {
  std::fprintf(stderr, "fake NCCL: %s\n", why);
  std::abort();
}

}  // namespace

struct FakeNccl::State {
  const kernels::CudaApi* cuda;
  std::mutex mutex;
  std::map<std::string, Group> groups;
  std::set<Comm*> comms;
  std::map<int, int> errors;  // by rank
  int aborts = 0, destroyed = 0, ids = 0;
};

namespace {

FakeNccl::State* state = nullptr;

Comm* Alive(void* comm) {
  auto* known = static_cast<Comm*>(comm);
  if (state->comms.count(known) == 0) Die("a communicator that has ended is used");
  return known;
}

const char* ErrorText(int error) {
  return error == kNcclRemoteError ? "remote process exited" : "made up";
}

int MakeId(char* id) {
  const std::lock_guard lock(state->mutex);
  std::snprintf(id, kNcclIdBytes, "meeting %d", ++state->ids);
  return 0;
}

int Init(void** comm, int ranks, const char* id, int rank) {
  const std::lock_guard lock(state->mutex);
  Group& group = state->groups[std::string(id)];
  group.size = ranks;
  if (!group.joined.insert(rank).second) Die("one rank joins twice");
  auto* made = new Comm{&group, rank, {}};
  state->comms.insert(made);
  *comm = made;
  return kNcclInProgress;
}

// In the stream's order; the fake GPU dies where that is not the device's memory. An error where
// the device is lost.
int Copy(void* to, const void* from, size_t bytes, StreamRef stream) {
  return state->cuda->copy(to, from, static_cast<int64_t>(bytes), stream) == 0 ? 0 : kCudaError;
}

// Takes what has come, in order.
bool Progress(Comm* comm) {
  while (!comm->pending.empty()) {
    const Receive& next = comm->pending.front();
    std::deque<Message>& mail = comm->group->mail[{next.from, comm->rank}];
    if (mail.empty()) return false;
    if (mail.front().size() != next.bytes) Die("ranks send and receive different sizes");
    Copy(next.to, mail.front().data(), next.bytes, next.stream);
    mail.pop_front();
    comm->pending.pop_front();
  }
  return true;
}

int AsyncError(void* handle, int* result) {
  const std::lock_guard lock(state->mutex);
  Comm* comm = Alive(handle);
  const auto broken = state->errors.find(comm->rank);
  const bool all_here = static_cast<int>(comm->group->joined.size()) == comm->group->size;
  if (broken != state->errors.end()) {
    *result = broken->second;
  } else {
    *result = all_here && Progress(comm) ? 0 : kNcclInProgress;
  }
  return 0;
}

int End(void* handle, int* count) {
  const std::lock_guard lock(state->mutex);
  Comm* comm = Alive(handle);
  state->comms.erase(comm);
  delete comm;
  ++*count;
  return 0;
}

int GroupStart() {
  grouped = true;
  return 0;
}

int GroupEnd() {
  grouped = false;
  for (const Call& call : calls) {
    if (!call.send) continue;
    Message message(call.bytes);
    const int error = Copy(message.data(), call.data, call.bytes, call.stream);
    if (error != 0) {
      calls.clear();
      return error;
    }
    const std::lock_guard lock(state->mutex);
    const Comm* comm = Alive(call.comm);
    comm->group->mail[{comm->rank, call.peer}].push_back(std::move(message));
  }
  const std::lock_guard lock(state->mutex);
  for (const Call& call : calls) {
    if (call.send) continue;
    Alive(call.comm)->pending.push_back({call.peer, call.data, call.bytes, call.stream});
  }
  calls.clear();
  return kNcclInProgress;
}

int Add(bool send, const void* data, int64_t bytes, int peer, void* comm, StreamRef stream) {
  if (!grouped) Die("a call outside of a group");
  char* at = static_cast<char*>(const_cast<void*>(data));
  calls.push_back({send, static_cast<Comm*>(comm), peer, at, static_cast<size_t>(bytes), stream});
  return 0;
}

int AllGather(const void* mine, void* all, int64_t bytes, void* comm, StreamRef stream) {
  for (int r = 0; r < static_cast<Comm*>(comm)->group->size; ++r) {
    Add(true, mine, bytes, r, comm, stream);
    Add(false, static_cast<char*>(all) + r * bytes, bytes, r, comm, stream);
  }
  return 0;
}

int Broadcast(void* data, int64_t bytes, int root, void* comm, StreamRef stream) {
  const auto* known = static_cast<Comm*>(comm);
  if (known->rank != root) return Add(false, data, bytes, root, comm, stream);
  for (int r = 0; r < known->group->size; ++r) {
    if (r != root) Add(true, data, bytes, r, comm, stream);
  }
  return 0;
}

}  // namespace

FakeNccl::FakeNccl(const kernels::CudaApi* cuda) : state_(std::make_unique<State>()) {
  if (state != nullptr) Die("there is one already");
  state = state_.get();
  state->cuda = cuda;
  api_.version = 22809;
  api_.error_text = ErrorText;
  api_.last_error = [](void*) { return ""; };
  api_.make_id = MakeId;
  api_.init = Init;
  api_.async_error = AsyncError;
  api_.finalize = [](void*) { return kNcclInProgress; };
  api_.destroy = [](void* comm) { return End(comm, &state->destroyed); };
  api_.abort = [](void* comm) { return End(comm, &state->aborts); };
  api_.group_start = GroupStart;
  api_.group_end = GroupEnd;
  api_.all_gather = AllGather;
  api_.broadcast = Broadcast;
  api_.send = [](const void* data, int64_t bytes, int peer, void* comm, StreamRef stream) {
    return Add(true, data, bytes, peer, comm, stream);
  };
  api_.recv = [](void* data, int64_t bytes, int peer, void* comm, StreamRef stream) {
    return Add(false, data, bytes, peer, comm, stream);
  };
}

FakeNccl::~FakeNccl() {
  if (!state_->comms.empty()) Die("a communicator is left over");
  state = nullptr;
}

void FakeNccl::Break(int rank, int error) {
  const std::lock_guard lock(state_->mutex);
  state_->errors[rank] = error;
}

int FakeNccl::aborts() const {
  const std::lock_guard lock(state_->mutex);
  return state_->aborts;
}

int FakeNccl::destroyed() const {
  const std::lock_guard lock(state_->mutex);
  return state_->destroyed;
}

int FakeNccl::alive() const {
  const std::lock_guard lock(state_->mutex);
  return static_cast<int>(state_->comms.size());
}

}  // namespace pamir::comm
