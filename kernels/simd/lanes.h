// What every kernel that adds up or exponentiates has in common, one number at a time. The vector
// twins are in lanes-inl.h; on machines with FMA both give the same bits.
//
// Sums run over 16 lanes: element i belongs to lane i mod 16, each lane adds in ascending order,
// and the lanes are added by the tree of SumLanes. 16 is one AVX-512 vector, two of AVX2, four of
// NEON: the order, and so the bits, do not depend on which.
#ifndef PAMIR_KERNELS_SIMD_LANES_H_
#define PAMIR_KERNELS_SIMD_LANES_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace pamir::kernels {

inline constexpr int kSumLanes = 16;

// ((l0 + l8) + (l4 + l12)) + ...: halves are added until one is left.
inline float SumLanes(const float lanes[kSumLanes]) {
  float sums[kSumLanes];
  for (int i = 0; i < kSumLanes; ++i) sums[i] = lanes[i];
  for (int half = kSumLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

// exp(x) for x <= 0, within 2 units in the last place; exactly 1 at 0, exactly 0 below
// kExpUnderflow (where the result would be subnormal), at -inf and for NaN.
// exp(x) = 2^n * exp(r) with n = round(x / ln 2), |r| <= ln(2) / 2; ln 2 in two parts so that r is
// exact to the last bit; exp(r) by the polynomial of Cephes' expf (S. Moshier).
inline constexpr float kExpUnderflow = -87.33654f;
inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kLn2High = 0.693359375f;
inline constexpr float kLn2Low = -2.12194440e-4f;
inline constexpr float kExpPolynomial[6] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                            4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};

inline float ExpNonPositive(float x) {
  if (!(x >= kExpUnderflow)) return 0;
  const float n = std::nearbyint(x * kLog2E);
  float r = std::fma(-n, kLn2High, x);
  r = std::fma(-n, kLn2Low, r);
  float p = kExpPolynomial[0];
  for (int i = 1; i < 6; ++i) p = std::fma(p, r, kExpPolynomial[i]);
  const float value = std::fma(p, r * r, r) + 1;
  const float power = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return value * power;
}

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_SIMD_LANES_H_
