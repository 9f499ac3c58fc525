#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sample/sample_simd.cc"
#include "kernels/simd/targets.h"
//
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include <algorithm>
#include <limits>

#include "kernels/sample/sample_row.h"
#include "kernels/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int kGroups = 4;  // of 16 partials, so that additions overlap
constexpr int64_t kStep = kGroups * 16;

float MaxLogit(const float* logits, int64_t n) {
  Lanes max[kGroups];
  for (Lanes& lanes : max) lanes = SetLanes(kMinusInfinity);
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    PAMIR_UNROLL for (int g = 0; g < kGroups; ++g) MaxWith(max[g], LoadLanes(logits + i + g * 16));
  }
  for (int g = 1; g < kGroups; ++g) MaxWith(max[0], max[g]);
  float result = Max(max[0]);
  for (; i < n; ++i) result = logits[i] > result ? logits[i] : result;
  return result;
}

void ChunkMaxima(const float* logits, int64_t n, int64_t chunk, float* maxima) {
  for (int64_t i = 0; i < n; i += chunk) *maxima++ = MaxLogit(logits + i, std::min(chunk, n - i));
}

int64_t Collect(const float* logits, int64_t n, float floor, int32_t* ids) {
  const F f;
  const Vec least = hn::Set(f, floor);
  int64_t count = 0;
  const auto add = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (logits[i] >= floor) ids[count++] = static_cast<int32_t>(i);
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    if (!hn::AllFalse(f, hn::Ge(hn::LoadU(f, logits + i), least))) add(i, i + kLanes);
  }
  add(i, n);
  return count;
}

int32_t FirstEqual(const float* logits, int64_t n, float value) {
  const F f;
  const Vec wanted = hn::Set(f, value);
  int64_t i = 0;
  while (i + kLanes <= n && hn::AllFalse(f, hn::Eq(hn::LoadU(f, logits + i), wanted))) i += kLanes;
  for (; i < n; ++i) {
    if (logits[i] == value) return static_cast<int32_t>(i);
  }
  return 0;
}

float AddGroups(Lanes sums[kGroups]) {
  AddTo(sums[0], sums[1]);
  AddTo(sums[2], sums[3]);
  AddTo(sums[0], sums[2]);
  return Sum(sums[0]);
}

// A chunk's sum of exp(logit - max).
float SumExpChunk(const float* logits, int64_t n, float max) {
  const Vec max_v = hn::Set(F(), max), one = hn::Set(F(), 1.0f);
  Lanes sums[kGroups];
  for (Lanes& lanes : sums) lanes = SetLanes(0);
  const auto add = [&](const float* from) HWY_ATTR {
    PAMIR_UNROLL for (int g = 0; g < kGroups; ++g) {
      AddTo(sums[g], ExpLanes(LoadLanes(from + g * 16), max_v, one));
    }
  };
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) add(logits + i);
  if (i < n) {
    float rest[kStep];
    std::fill_n(rest, kStep, kMinusInfinity);
    std::copy(logits + i, logits + n, rest);
    add(rest);
  }
  return AddGroups(sums);
}

double SumExp(const float* logits, int64_t n, float max) {
  double sum = 0;
  for (int64_t i = 0; i < n; i += kSampleChunk) {
    sum += SumExpChunk(logits + i, std::min(kSampleChunk, n - i), max);
  }
  return sum;
}

void ExpWeights(const float* logits, int64_t n, float max, float scale, float* weights) {
  const Vec max_v = hn::Set(F(), max), scale_v = hn::Set(F(), scale);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    StoreLanes(ExpLanes(LoadLanes(logits + i), max_v, scale_v), weights + i);
  }
  if (i < n) {
    float rest[16];
    std::fill_n(rest, 16, kMinusInfinity);
    std::copy(logits + i, logits + n, rest);
    StoreLanes(ExpLanes(LoadLanes(rest), max_v, scale_v), rest);
    std::copy(rest, rest + (n - i), weights + i);
  }
}

double SumChunk(const float* weights, int64_t n) {
  Lanes sums[kGroups];
  for (Lanes& lanes : sums) lanes = SetLanes(0);
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    PAMIR_UNROLL for (int g = 0; g < kGroups; ++g) AddTo(sums[g], LoadLanes(weights + i + g * 16));
  }
  double sum = AddGroups(sums);
  for (; i < n; ++i) sum += weights[i];
  return sum;
}

// Clears the weights of ids begin .. end - 1 whose logit is below (kEqualStays) or not above
// `logit`.
template <bool kEqualStays>
void KeepAbove(const float* logits, int64_t begin, int64_t end, float logit, float* weights) {
  const F f;
  const Vec least = hn::Set(f, logit);
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    const Vec x = hn::LoadU(f, logits + i), w = hn::LoadU(f, weights + i);
    const auto kept = kEqualStays ? hn::Ge(x, least) : hn::Gt(x, least);
    hn::StoreU(hn::IfThenElseZero(kept, w), f, weights + i);
  }
  for (; i < end; ++i) {
    const bool kept = kEqualStays ? logits[i] >= logit : logits[i] > logit;
    if (!kept) weights[i] = 0;
  }
}

void ApplyCut(const float* logits, int64_t n, const Cut& cut, float* weights) {
  KeepAbove<true>(logits, 0, cut.id + 1, cut.logit, weights);
  KeepAbove<false>(logits, cut.id + 1, n, cut.logit, weights);
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pamir::kernels {

HWY_EXPORT(MaxLogit);
HWY_EXPORT(ChunkMaxima);
HWY_EXPORT(Collect);
HWY_EXPORT(FirstEqual);
HWY_EXPORT(SumExp);
HWY_EXPORT(ExpWeights);
HWY_EXPORT(SumChunk);
HWY_EXPORT(ApplyCut);

float MaxLogit(const float* logits, int64_t n) { return HWY_DYNAMIC_DISPATCH(MaxLogit)(logits, n); }

void ChunkMaxima(const float* logits, int64_t n, int64_t chunk, float* maxima) {
  HWY_DYNAMIC_DISPATCH(ChunkMaxima)(logits, n, chunk, maxima);
}

int64_t Collect(const float* logits, int64_t n, float floor, int32_t* ids) {
  return HWY_DYNAMIC_DISPATCH(Collect)(logits, n, floor, ids);
}

int32_t FirstEqual(const float* logits, int64_t n, float value) {
  return HWY_DYNAMIC_DISPATCH(FirstEqual)(logits, n, value);
}

double SumExp(const float* logits, int64_t n, float max) {
  return HWY_DYNAMIC_DISPATCH(SumExp)(logits, n, max);
}

void ExpWeights(const float* logits, int64_t n, float max, float scale, float* weights) {
  HWY_DYNAMIC_DISPATCH(ExpWeights)(logits, n, max, scale, weights);
}

double SumChunk(const float* weights, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SumChunk)(weights, n);
}

void ApplyCut(const float* logits, int64_t n, const Cut& cut, float* weights) {
  HWY_DYNAMIC_DISPATCH(ApplyCut)(logits, n, cut, weights);
}

}  // namespace pamir::kernels
#endif  // HWY_ONCE
