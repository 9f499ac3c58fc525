// Hopper's warpgroup matrix instructions (PTX ISA, "wgmma"), as attention needs them: 64 rows, fp16
// in, fp32 sums, right operand from shared memory without swizzle: 8 x 8 matrices of 128 bytes.
// They run while the warps go on: between WgmmaBegin and the WgmmaAwait that ends them, nobody
// touches the registers.
#ifndef PAMIR_KERNELS_ATTENTION_WGMMA_CUH_
#define PAMIR_KERNELS_ATTENTION_WGMMA_CUH_

#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/attention/attention_mma.cuh"
#include "kernels/attention/mbarrier.cuh"

namespace pamir::kernels::cuda {

// Shared memory written by this thread (cp.async included) before, read by wgmma after a barrier.
__device__ __forceinline__ void FenceSharedWrites() {
  PAMIR_HOPPER("fence.proxy.async.shared::cta;" ::: "memory");
}

// A matrix in shared memory. K-major: `leading` bytes from 8 columns (of k) to the next, `stride`
// from 8 rows to the next. MN-major: `leading` from 8 of k to the next, `stride` from 8 of n. It is
// the same for all threads of a warp, and an address `bytes` further is a plain addition: this way
// the compiler keeps it where wgmma takes it from.
struct SharedMatrix {
  uint32_t low, high;
  __device__ __forceinline__ SharedMatrix(uint32_t address, int leading, int stride)
      : low(__shfl_sync(~0u, (address >> 4 & 0x3fff) | leading >> 4 << 16, 0)), high(stride >> 4) {}
  __device__ __forceinline__ uint64_t Behind(int bytes) const {
    return static_cast<uint64_t>(high) << 32 | (low + (bytes >> 4));
  }
};

// Ties values to their registers here, so that none is moved while wgmma works on it.
template <int N>
__device__ __forceinline__ void Pin(float (&d)[N][4]) {
#pragma unroll
  for (int i = 0; i < 4 * N; ++i) asm volatile("" : "+f"(d[i / 4][i % 4])::"memory");
}
template <int N>
__device__ __forceinline__ void Pin(uint32_t (&d)[N][4]) {
#pragma unroll
  for (int i = 0; i < 4 * N; ++i) asm volatile("" : "+r"(d[i / 4][i % 4])::"memory");
}

__device__ __forceinline__ void WgmmaBegin() {
  PAMIR_HOPPER("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void WgmmaCommit() {
  PAMIR_HOPPER("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending of the committed groups are under way.
template <int kPending>
__device__ __forceinline__ void WgmmaAwait() {
  PAMIR_HOPPER("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

#define PAMIR_TIED2(d, n)                                                        \
  "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3]), "+f"(d[n + 1][0]), \
      "+f"(d[n + 1][1]), "+f"(d[n + 1][2]), "+f"(d[n + 1][3])
#define PAMIR_TIED4(d, n) PAMIR_TIED2(d, n), PAMIR_TIED2(d, n + 2)

// d = a b (+ d where add): both K-major in shared memory.
__device__ __forceinline__ void WgmmaScores(float (&d)[8][4], uint64_t a, uint64_t b, bool add) {
  PAMIR_HOPPER(
      "{.reg .pred p; setp.ne.b32 p, %34, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, p, 1, 1, 0, 0;}"
      : PAMIR_TIED4(d, 0), PAMIR_TIED4(d, 4)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// The same, a from registers as mma.sync takes it.
__device__ __forceinline__ void WgmmaScores(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
  PAMIR_HOPPER(
      "{.reg .pred p; setp.ne.b32 p, %37, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 0;}"
      : PAMIR_TIED4(d, 0), PAMIR_TIED4(d, 4)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

// d = a b (+ d where add): a from registers, b MN-major (n contiguous) in shared memory.
__device__ __forceinline__ void WgmmaValues(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
  PAMIR_HOPPER(
      "{.reg .pred p; setp.ne.b32 p, %37, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 1;}"
      : PAMIR_TIED4(d, 0), PAMIR_TIED4(d, 4)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

__device__ __forceinline__ void WgmmaValues(float (&d)[10][4], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
  PAMIR_HOPPER(
      "{.reg .pred p; setp.ne.b32 p, %45, 0;"
      "wgmma.mma_async.sync.aligned.m64n80k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "
      "%34, %35, %36, %37, %38, %39}, "
      "{%40, %41, %42, %43}, %44, p, 1, 1, 1;}"
      : PAMIR_TIED4(d, 0), PAMIR_TIED4(d, 4), PAMIR_TIED2(d, 8)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

__device__ __forceinline__ void WgmmaValues(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
  PAMIR_HOPPER(
      "{.reg .pred p; setp.ne.b32 p, %69, 0;"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "
      "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "
      "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, p, 1, 1, 1;}"
      : PAMIR_TIED4(d, 0), PAMIR_TIED4(d, 4), PAMIR_TIED4(d, 8), PAMIR_TIED4(d, 12)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

#undef PAMIR_TIED2
#undef PAMIR_TIED4

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_WGMMA_CUH_
