#include "engine/comm/nccl_comm.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::comm {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Queueing takes some 10 us, joining a second: first without pause, then with.
constexpr std::chrono::milliseconds kEager{2};
constexpr std::chrono::microseconds kPause{200};

bool Failed(int result) { return result != 0 && result != kNcclInProgress; }

std::string Words(const NcclApi& api, void* comm, int error) {
  const char* more = api.last_error(comm);
  const std::string words = api.error_text(error);
  return more == nullptr || *more == '\0' ? words : absl::StrCat(words, ": ", std::string(more));
}

}  // namespace

std::string NcclVersionName(int version) {
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

absl::StatusOr<std::string> MakeNcclId(const NcclApi& api) {
  std::string id(kNcclIdBytes, '\0');
  const int error = api.make_id(id.data());
  if (!Failed(error)) return id;
  return absl::UnavailableError(
      absl::StrCat("NCCL cannot open a meeting place: ", Words(api, nullptr, error)));
}

absl::StatusOr<std::unique_ptr<NcclComm>> NcclComm::Join(const NcclApi& api, const GroupInfo& group,
                                                         const std::string& id) {
  if (id.size() != static_cast<size_t>(kNcclIdBytes)) {
    return absl::InvalidArgumentError(absl::StrCat(group.RankName(0), " offered an NCCL id of ",
                                                   id.size(), " bytes; it has ", kNcclIdBytes));
  }
  std::unique_ptr<NcclComm> joined(new NcclComm(api, group));
  PAMIR_RETURN_IF_ERROR(joined->Init(id));
  return joined;
}

absl::Status NcclComm::Init(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    const int result = api_.init(&comm_, group_.size(), id.data(), group_.rank);
    if (Failed(result) || comm_ == nullptr) {
      error_.Set(NcclError(Operation::kConnect, result));
      if (comm_ != nullptr) api_.abort(comm_);
      comm_ = nullptr;
      return error_.Get();
    }
  }
  return Settle(Operation::kConnect);
}

NcclComm::~NcclComm() {
  if (!error_.Get().ok()) return;
  int result;
  {
    const std::lock_guard lock(mutex_);
    result = api_.finalize(comm_);
  }
  const absl::Status left =
      Failed(result) ? Fail(NcclError(Operation::kGaveUp, result)) : Settle(Operation::kGaveUp);
  const std::lock_guard lock(mutex_);
  if (left.ok() && comm_ != nullptr) api_.destroy(comm_);
}

absl::Status NcclComm::NcclError(Operation op, int error) const {
  return absl::UnavailableError(absl::StrCat(Name(op), " (NCCL): ", Words(api_, comm_, error)));
}

absl::Status NcclComm::TooLate(Operation op) const {
  std::string others;
  for (int r = 0; r < group_.size(); ++r) {
    if (r != group_.rank) absl::StrAppend(&others, others.empty() ? "" : ", ", group_.RankName(r));
  }
  return absl::DeadlineExceededError(absl::StrCat(others.empty() ? group_.RankName(0) : others,
                                                  group_.size() > 2 ? " (one or more of them)" : "",
                                                  " did not come to ", Name(op), " (NCCL) within ",
                                                  absl::FormatDuration(group_.timeout)));
}

absl::Status NcclComm::Fail(const absl::Status& why) {
  error_.Set(why);
  void* ended;
  {
    const std::lock_guard lock(mutex_);
    ended = std::exchange(comm_, nullptr);
  }
  // Without the lock: NCCL may take its time, and later calls are to return at once.
  if (ended != nullptr) api_.abort(ended);
  return error_.Get();
}

int NcclComm::StateLocked() {
  int state = 0;
  const int asked = api_.async_error(comm_, &state);
  return Failed(asked) ? asked : state;
}

int NcclComm::GroupLocked(absl::FunctionRef<int(void* comm)> calls) {
  const int started = api_.group_start();
  if (Failed(started)) return started;
  const int called = calls(comm_);
  const int ended = api_.group_end();  // whatever came of it: a group that is open stays open
  return Failed(called) ? called : ended;
}

absl::Status NcclComm::Run(Operation op, absl::FunctionRef<int(void* comm)> calls) {
  absl::Status failed;
  {
    const std::lock_guard lock(mutex_);
    if (comm_ == nullptr) return error_.Get();
    int result = StateLocked();
    if (!Failed(result)) result = GroupLocked(calls);
    if (result == 0) return absl::OkStatus();
    if (Failed(result)) failed = NcclError(op, result);
  }
  return failed.ok() ? Settle(op) : Fail(failed);
}

absl::Status NcclComm::Settle(Operation op) {
  const auto begin = SteadyClock::now();
  const auto deadline =
      begin + absl::ToChronoNanoseconds(std::min(group_.timeout, absl::Hours(1000)));
  for (;;) {
    absl::Status failed;
    {
      const std::lock_guard lock(mutex_);
      if (comm_ == nullptr) return error_.Get();
      const int state = StateLocked();
      if (state == 0) return absl::OkStatus();
      if (Failed(state)) failed = NcclError(op, state);
    }
    const auto now = SteadyClock::now();
    if (failed.ok() && now > deadline) failed = TooLate(op);
    if (!failed.ok()) return Fail(failed);
    if (now - begin < kEager) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kPause);
    }
  }
}

}  // namespace pamir::comm
