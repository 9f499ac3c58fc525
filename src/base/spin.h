// Waiting without sleeping.
#ifndef PAMIR_BASE_SPIN_H_
#define PAMIR_BASE_SPIN_H_

#include <thread>

namespace pamir {

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// One turn of a wait that should be short: mostly a pause, now and then a yield, so that a thread
// waited for on the same core can run.
inline void SpinPause(int turn) {
  if ((turn & 1023) == 1023) {
    std::this_thread::yield();
  } else {
    CpuRelax();
  }
}

}  // namespace pamir

#endif  // PAMIR_BASE_SPIN_H_
