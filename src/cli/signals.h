// SIGTERM and SIGINT as calls on a thread, where anything may be done.
#ifndef PAMIR_CLI_SIGNALS_H_
#define PAMIR_CLI_SIGNALS_H_

#include <atomic>
#include <functional>
#include <thread>

namespace pamir::cli {

// The shared secret between `pamir serve` and its workers, or a coordinator and its workers.
inline constexpr char kJoinTokenVariable[] = "PAMIR_JOIN_TOKEN";

// Before any thread is started: all threads then leave SIGTERM and SIGINT to the SignalThread.
void BlockSignals();

// Calls `handler` for each of these signals until it is destroyed.
class SignalThread {
 public:
  explicit SignalThread(std::function<void(int signal)> handler);
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace pamir::cli

#endif  // PAMIR_CLI_SIGNALS_H_
