// Runs the same body on all ranks of a group, over each transport: ranks as threads of the test, or
// as processes that it forks.
#ifndef PAMIR_TESTS_UNIT_COMM_RANK_HARNESS_H_
#define PAMIR_TESTS_UNIT_COMM_RANK_HARNESS_H_

#include <functional>
#include <string>
#include <vector>

#include "engine/comm/communicator.h"

namespace pamir::comm {

enum class Way { kThreads, kShmThreads, kShmProcesses, kGlooThreads, kGlooProcesses };
const char* Name(Way way);
bool InProcesses(Way way);
bool OverGloo(Way way);

// What a rank's body gets. `exchange` also serves as a barrier.
struct RankContext {
  int rank;
  Groups& groups;
  const ExchangeFn& exchange;

  Communicator& world() const { return *groups.world; }
};

// Returns "" or what went wrong: a forked rank cannot use gtest's macros.
using RankBody = std::function<std::string(RankContext&)>;

struct RunOptions {
  std::vector<int> stage_of_rank;
  absl::Duration timeout = absl::Seconds(30);
  int64_t max_message_bytes = int64_t{8} << 20;
  bool spin = true;
  // Called by each rank before it connects; an error is its result. May be empty.
  std::function<absl::Status(GroupOptions& options)> prepare;
};

inline constexpr char kKilled[] = "(killed)";

// [rank]: what each body returned; kKilled for a process that ended otherwise.
std::vector<std::string> RunRanks(Way way, const RunOptions& options, const RankBody& body);

// n ranks of one stage.
RunOptions OneStage(int n);

// An exchange between n threads: one function a thread.
std::vector<ExchangeFn> ThreadExchange(int n);

}  // namespace pamir::comm

// In a body: returns the place and the condition, or the status, unless it holds.
#define WANT_STRING_(x) #x
#define WANT_LINE_(x) WANT_STRING_(x)
#define WANT(condition)                                                    \
  do {                                                                     \
    if (!(condition)) return "line " WANT_LINE_(__LINE__) ": " #condition; \
  } while (false)
#define WANT_OK(expression)                                                                     \
  do {                                                                                          \
    const absl::Status want_status_ = (expression);                                             \
    if (!want_status_.ok()) return "line " WANT_LINE_(__LINE__) ": " + want_status_.ToString(); \
  } while (false)
// Code and a part of the message.
#define WANT_ERROR(expression, wanted_code, part)                         \
  do {                                                                    \
    const absl::Status want_status_ = (expression);                       \
    if (want_status_.code() != (wanted_code) ||                           \
        want_status_.ToString().find(part) == std::string::npos) {        \
      return "line " WANT_LINE_(__LINE__) ": " + want_status_.ToString(); \
    }                                                                     \
  } while (false)

#endif  // PAMIR_TESTS_UNIT_COMM_RANK_HARNESS_H_
