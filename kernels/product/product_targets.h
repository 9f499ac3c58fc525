// Include before any Highway header: which instruction sets the products are compiled for.
//
// AVX-512, AVX2 and NEON fuse multiply and add in hardware; the portable target calls std::fma. The
// SSE targets are left out (no fused multiply-add there: nothing to win over the portable one), and
// vectors of unknown length (SVE) too: a panel is a fixed number of fixed vectors.
#ifndef PAMIR_KERNELS_PRODUCT_PRODUCT_TARGETS_H_
#define PAMIR_KERNELS_PRODUCT_PRODUCT_TARGETS_H_

#define HWY_BROKEN_EMU128 1  // the portable target is HWY_SCALAR with every compiler
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#endif  // PAMIR_KERNELS_PRODUCT_PRODUCT_TARGETS_H_
