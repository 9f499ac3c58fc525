#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm/norm_simd.cc"
#include "kernels/simd/targets.h"
//
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include <algorithm>
#include <cmath>

#include "kernels/norm/norm_row.h"
#include "kernels/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {

// One row's view; null bias, gamma and beta stand for 0, 1 and 0.
struct Row {
  float* x;
  const float* delta;
  const float* bias;
  const float* gamma;
  const float* beta;
  float* y;
  int64_t width;
};

// x += delta + bias from element i on, as far as whole vectors of D go; returns where it stopped.
template <class D>
int64_t AddDelta(D d, const Row& row, int64_t i) {
  const int64_t lanes = hn::MaxLanes(D());
  for (; i + lanes <= row.width; i += lanes) {
    auto delta = hn::LoadU(d, row.delta + i);
    if (row.bias != nullptr) delta = hn::Add(delta, hn::LoadU(d, row.bias + i));
    hn::StoreU(hn::Add(hn::LoadU(d, row.x + i), delta), d, row.x + i);
  }
  return i;
}

// y = (x - mean) * inverse * gamma + beta, likewise.
template <class D>
int64_t Apply(D d, const Row& row, float mean, float inverse, int64_t i) {
  const int64_t lanes = hn::MaxLanes(D());
  const auto mean_v = hn::Set(d, mean), inverse_v = hn::Set(d, inverse);
  for (; i + lanes <= row.width; i += lanes) {
    const auto n = hn::Mul(hn::Sub(hn::LoadU(d, row.x + i), mean_v), inverse_v);
    const auto gamma = row.gamma != nullptr ? hn::LoadU(d, row.gamma + i) : hn::Set(d, 1.0f);
    const auto beta = row.beta != nullptr ? hn::LoadU(d, row.beta + i) : hn::Zero(d);
    hn::StoreU(hn::MulAdd(n, gamma, beta), d, row.y + i);
  }
  return i;
}

// Adds x, or (x - mean)^2, of 64 elements to their partials.
template <bool kSquares>
HWY_INLINE void Accumulate(const float* x, Vec mean, Lanes partials[kNormGroups]) {
  PAMIR_UNROLL for (int g = 0; g < kNormGroups; ++g) {
    PAMIR_UNROLL for (int p = 0; p < kParts; ++p) {
      const Vec value = hn::LoadU(F(), x + g * 16 + p * kLanes);
      Vec& partial = partials[g].part[p];
      if constexpr (kSquares) {
        const Vec centered = hn::Sub(value, mean);
        partial = hn::MulAdd(centered, centered, partial);
      } else {
        partial = hn::Add(partial, value);
      }
    }
  }
}

// The mean of x, or of (x - mean)^2, in norm_row.h's order.
template <bool kSquares>
float MeanOf(const Row& row, float mean) {
  Lanes partials[kNormGroups];
  for (Lanes& lanes : partials) lanes = SetLanes(0);
  const Vec mean_v = hn::Set(F(), mean);
  int64_t i = 0;
  for (; i + kNormPartials <= row.width; i += kNormPartials) {
    Accumulate<kSquares>(row.x + i, mean_v, partials);
  }
  if (i < row.width) {  // the rest, and elements that add exactly nothing
    float rest[kNormPartials];
    std::fill_n(rest, kNormPartials, kSquares ? mean : 0.0f);
    std::copy(row.x + i, row.x + row.width, rest);
    Accumulate<kSquares>(rest, mean_v, partials);
  }
  AddTo(partials[0], partials[1]);
  AddTo(partials[2], partials[3]);
  AddTo(partials[0], partials[2]);
  return Sum(partials[0]) / static_cast<float>(row.width);
}

void AddNormRow(const NormArgs& args, int64_t r) {
  const int64_t offset = r * args.width;
  const Row row{
      args.x + offset, args.delta == nullptr ? nullptr : args.delta + offset, args.bias, args.gamma,
      args.beta,       args.y == nullptr ? nullptr : args.y + offset,         args.width};
  if (row.delta != nullptr) AddDelta(One(), row, AddDelta(F(), row, 0));
  if (!args.normalize) return;
  const float mean = MeanOf<false>(row, 0);
  const float inverse = 1 / std::sqrt(MeanOf<true>(row, mean) + args.epsilon);
  Apply(One(), row, mean, inverse, Apply(F(), row, mean, inverse, 0));
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pamir::kernels {

HWY_EXPORT(AddNormRow);

void AddNormRow(const NormArgs& args, int64_t row) { HWY_DYNAMIC_DISPATCH(AddNormRow)(args, row); }

}  // namespace pamir::kernels
#endif  // HWY_ONCE
