// Included before hwy/foreach_target.h: which instruction sets a kernel is compiled for, and how
// its inner loops are unrolled.
//
// x86: AVX-512 (Highway's AVX3), AVX2 with FMA, and one lane at a time for anything older; SSSE3
// and SSE4 machines have no FMA and would only cost compile time. Arm: NEON; vectors of unknown
// length (SVE) cannot be array elements, as the kernels need them.
#ifndef PAMIR_KERNELS_SIMD_TARGETS_H_
#define PAMIR_KERNELS_SIMD_TARGETS_H_

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Before a loop of constant length over an array of vectors, so that the array lives in registers.
#if defined(__clang__)
#define PAMIR_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PAMIR_UNROLL _Pragma("GCC unroll 16")
#endif

#endif  // PAMIR_KERNELS_SIMD_TARGETS_H_
