// Hands out aligned pieces of one allocation; run twice, first to count, then to place.
#ifndef PAMIR_ENGINE_MODEL_CARVER_H_
#define PAMIR_ENGINE_MODEL_CARVER_H_

#include <cstdint>

#include "base/units.h"

namespace pamir::model {

class Carver {
 public:
  // `base` null: only counts, and every piece is null.
  Carver(char* base, int64_t alignment) : base_(base), alignment_(alignment) {}

  // `count` elements of T.
  template <typename T>
  void Take(T** piece, int64_t count) {
    TakeBytes(reinterpret_cast<void**>(piece), count * static_cast<int64_t>(sizeof(T)));
  }
  void TakeBytes(void** piece, int64_t bytes) {
    *piece = base_ == nullptr || bytes == 0 ? nullptr : base_ + used_;
    used_ += RoundUp(bytes, alignment_);
  }
  int64_t used() const { return used_; }

 private:
  char* const base_;
  const int64_t alignment_;
  int64_t used_ = 0;
};

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_CARVER_H_
