#ifndef PAMIR_CORE_SPEC_LOGIT_ROWS_H_
#define PAMIR_CORE_SPEC_LOGIT_ROWS_H_

#include <cstdint>

namespace pamir::spec {

// Rows of logits that a rank computes at once; more are done in turns. The engine sizes its buffers
// by it, and BytesOfRank counts them.
inline constexpr int64_t kLogitRows = 64;

}  // namespace pamir::spec

#endif  // PAMIR_CORE_SPEC_LOGIT_ROWS_H_
