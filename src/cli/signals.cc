#include "cli/signals.h"

#include <signal.h>

#include <utility>

namespace pamir::cli {
namespace {

sigset_t EndingSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void BlockSignals() {
  const sigset_t set = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

SignalThread::SignalThread(std::function<void(int)> handler)
    : thread_([this, handler = std::move(handler)] {
        const sigset_t set = EndingSignals();
        int number = 0;
        while (sigwait(&set, &number) == 0 && !ended_.load()) handler(number);
      }) {}

SignalThread::~SignalThread() {
  ended_.store(true);
  // Every thread blocks the signal: this wakes sigwait and ends nothing.
  pthread_kill(thread_.native_handle(), SIGTERM);  // NOLINT(bugprone-bad-signal-to-kill-thread)
  thread_.join();
}

}  // namespace pamir::cli
