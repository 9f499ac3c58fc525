// 16 floats as whole vectors of the target being compiled, and the vector twins of lanes.h.
// Included by *_simd.cc after hwy/highway.h, once per target.
#if defined(PAMIR_KERNELS_SIMD_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAMIR_KERNELS_SIMD_LANES_INL_H_
#undef PAMIR_KERNELS_SIMD_LANES_INL_H_
#else
#define PAMIR_KERNELS_SIMD_LANES_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/simd/lanes.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;   // the widest vector of up to 16 floats
using One = hn::CappedTag<float, 1>;  // the tail: the same arithmetic, one element at a time
using Vec = hn::Vec<F>;

constexpr int kLanes = static_cast<int>(hn::MaxLanes(F()));
constexpr int kParts = 16 / kLanes;

struct Lanes {
  Vec part[kParts];
};

HWY_INLINE Lanes SetLanes(float value) {
  Lanes lanes;
  PAMIR_UNROLL for (int p = 0; p < kParts; ++p) lanes.part[p] = hn::Set(F(), value);
  return lanes;
}

HWY_INLINE Lanes LoadLanes(const float* from) {
  Lanes lanes;
  PAMIR_UNROLL for (int p = 0; p < kParts; ++p) lanes.part[p] = hn::LoadU(F(), from + p * kLanes);
  return lanes;
}

HWY_INLINE void StoreLanes(const Lanes& lanes, float* to) {
  PAMIR_UNROLL for (int p = 0; p < kParts; ++p) hn::StoreU(lanes.part[p], F(), to + p * kLanes);
}

HWY_INLINE void AddTo(Lanes& sum, const Lanes& more) {
  PAMIR_UNROLL for (int p = 0; p < kParts; ++p) {
    sum.part[p] = hn::Add(sum.part[p], more.part[p]);
  }
}

HWY_INLINE float Sum(const Lanes& lanes) {
  float values[16];
  StoreLanes(lanes, values);
  return SumLanes(values);
}

// NaN in `x` is passed over.
HWY_INLINE void MaxWith(Lanes& max, const Lanes& x) {
  PAMIR_UNROLL for (int p = 0; p < kParts; ++p) { max.part[p] = hn::Max(x.part[p], max.part[p]); }
}

HWY_INLINE float Max(const Lanes& lanes) {
  float values[16];
  StoreLanes(lanes, values);
  float max = values[0];
  for (int i = 1; i < 16; ++i) max = values[i] > max ? values[i] : max;
  return max;
}

HWY_INLINE Vec ExpNonPositiveVec(Vec x) {
  const F f;
  const hn::Rebind<int32_t, F> i32;
  const Vec low = hn::Set(f, kExpUnderflow);
  const Vec clamped = hn::Max(x, low);
  const Vec n = hn::Round(hn::Mul(clamped, hn::Set(f, kLog2E)));
  Vec r = hn::NegMulAdd(n, hn::Set(f, kLn2High), clamped);
  r = hn::NegMulAdd(n, hn::Set(f, kLn2Low), r);
  Vec poly = hn::Set(f, kExpPolynomial[0]);
  PAMIR_UNROLL for (int i = 1; i < 6; ++i) {
    poly = hn::MulAdd(poly, r, hn::Set(f, kExpPolynomial[i]));
  }
  const Vec value = hn::Add(hn::MulAdd(poly, hn::Mul(r, r), r), hn::Set(f, 1.0f));
  const auto exponent = hn::Add(hn::ConvertTo(i32, n), hn::Set(i32, 127));
  const Vec power = hn::BitCast(f, hn::ShiftLeft<23>(exponent));
  return hn::IfThenElseZero(hn::Ge(x, low), hn::Mul(value, power));
}

// exp((x - max) * scale) of each lane.
HWY_INLINE Lanes ExpLanes(const Lanes& x, Vec max, Vec scale) {
  Lanes out;
  PAMIR_UNROLL for (int p = 0; p < kParts; ++p) {
    out.part[p] = ExpNonPositiveVec(hn::Mul(hn::Sub(x.part[p], max), scale));
  }
  return out;
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#endif  // PAMIR_KERNELS_SIMD_LANES_INL_H_
