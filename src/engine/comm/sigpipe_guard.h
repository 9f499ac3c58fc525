#ifndef PAMIR_ENGINE_COMM_SIGPIPE_GUARD_H_
#define PAMIR_ENGINE_COMM_SIGPIPE_GUARD_H_

#include <signal.h>
#include <time.h>

namespace pamir::comm {

// Gloo writes to sockets without MSG_NOSIGNAL: a peer that has gone would end this process. While a
// guard lives, SIGPIPE is held back from this thread, and one that came meanwhile is swallowed.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~SigpipeGuard() {
    if (sigismember(&before_, SIGPIPE) == 1) return;
    sigset_t pending;
    sigpending(&pending);
    const timespec at_once{};
    if (sigismember(&pending, SIGPIPE) == 1) sigtimedwait(&pipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t pipe_;
  sigset_t before_;
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_SIGPIPE_GUARD_H_
