// What a request may ask for. The doors refuse what lies outside; docs/API.md lists them.
#ifndef PAMIR_LIMITS_H_
#define PAMIR_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace pamir {

inline constexpr size_t kMaxTextBytes = 1 << 20;  // of a prompt or a text to score or tokenize
inline constexpr size_t kMaxTokenIds = 1 << 20;   // of a prompt given as ids, or Detokenize
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopStringBytes = 256;  // each
inline constexpr size_t kMaxStopTokenIds = 64;
inline constexpr float kMaxTemperature = 100.0f;
inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr size_t kMaxRequestMessageBytes = 16 << 20;  // of one gRPC message, either way
inline constexpr int kMaxActiveCalls = 4096;                 // of all clients together
inline constexpr size_t kMaxQueuedTextJobs = 256;            // texts that wait to be tokenized
inline constexpr size_t kMaxUnreadBytes = 256 << 10;  // of a stream whose client does not read

}  // namespace pamir

#endif  // PAMIR_LIMITS_H_
