// Hopper's asynchronous pieces as functions: mbarriers, the bulk tensor copy, wgmma.
//
// wgmma m64nNk16: D[64 outputs][N rows] += A[64][16] B[N][16], both from shared memory, N rows of x
// as columns. D lies as mma.sync's: value d[4j + e] of lane (g = lane / 4, t = lane % 4), warp w of
// its four is output 16 w + g + 8 (e / 2), row 8 j + 2 t + e % 2.
#ifndef PAMIR_KERNELS_PRODUCT_HOPPER_CUH_
#define PAMIR_KERNELS_PRODUCT_HOPPER_CUH_

#include <cuda.h>

#include <cstdint>

#include "base/dtype.h"

namespace pamir::kernels::cuda {

__device__ __forceinline__ uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void BarrierInit(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
__device__ __forceinline__ void BarrierInitDone() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void BarrierExpect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void BarrierArrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void BarrierWait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{ .reg .pred done;\n"
      "again: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again; }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

__device__ __forceinline__ void FetchMap(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// A box of a tensor with two or three dimensions to shared memory; completes on `barrier`.
__device__ __forceinline__ void CopyBox(uint32_t to, const CUtensorMap& map, int c0, int c1,
                                        uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(c0), "r"(c1), "r"(barrier), "l"(policy)
      : "memory");
}
__device__ __forceinline__ void CopyBox(uint32_t to, const CUtensorMap& map, int c0, int c1, int c2,
                                        uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(to),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier), "l"(policy)
      : "memory");
}

// Before tensor cores read shared memory that ordinary stores of this thread wrote.
__device__ __forceinline__ void ShowStores() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// What the last kernel wrote may be read after Await; Allow lets the next kernel's blocks start.
__device__ __forceinline__ void AllowNextKernel() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
__device__ __forceinline__ void AwaitLastKernel() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

__device__ __forceinline__ void WgmmaBegin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

enum class Swizzle : uint64_t { k128 = 1, k32 = 3 };

// A matrix in shared memory whose 8-row (8-column) atoms lie `atom_bytes` apart.
__device__ __forceinline__ uint64_t WgmmaMatrix(uint32_t address, uint32_t atom_bytes, Swizzle s) {
  return (uint64_t{(address & 0x3ffff) >> 4}) | (uint64_t{1} << 16) |
         (uint64_t{atom_bytes >> 4} << 32) | (static_cast<uint64_t>(s) << 62);
}

// Such a matrix with a 128-byte swizzle and atoms 1024 bytes apart, from the descriptor's low half.
__device__ __forceinline__ uint32_t WgmmaLow(uint32_t address) {
  return address >> 4 | uint32_t{1} << 16;
}
__device__ __forceinline__ uint64_t WgmmaMatrix(uint32_t low) {
  return uint64_t{(1024 >> 4) | uint32_t{1} << 30} << 32 | low;
}

// A value that is the same in all lanes, in a way that lets the compiler know it: what is made of
// it stays in uniform registers, where wgmma wants its descriptors.
__device__ __forceinline__ uint32_t Uniform(uint32_t v) {
  uint32_t u;
  asm volatile("redux.sync.max.u32 %0, %1, 0xffffffff;" : "=r"(u) : "r"(v));
  return u;
}
__device__ __forceinline__ uint32_t Lane() {
  uint32_t lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));  // volatile: never read again in a loop
  return lane;
}

#define PAMIR_D8(d, i)                                                                        \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])

// `...`: the sums. One instruction for fp16, one for bf16.
#define PAMIR_WGMMA(rows, sums, a_at, b_at, trans_at, ...)                                       \
  if constexpr (kType == DType::kFloat16) {                                                      \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" rows "k16.f32.f16.f16 {" sums "}, %" a_at   \
                 ", %" b_at ", 1, 1, 1, %" trans_at ", 0;"                                       \
                 : __VA_ARGS__                                                                   \
                 : "l"(a), "l"(b), "n"(kTransA));                                                \
  } else {                                                                                       \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" rows "k16.f32.bf16.bf16 {" sums "}, %" a_at \
                 ", %" b_at ", 1, 1, 1, %" trans_at ", 0;"                                       \
                 : __VA_ARGS__                                                                   \
                 : "l"(a), "l"(b), "n"(kTransA));                                                \
  }

// kTransA: A lies with outputs contiguous (neurons' order) instead of inputs.
template <DType kType, int kTransA>
__device__ __forceinline__ void Wgmma(float (&d)[4], uint64_t a, uint64_t b) {
  PAMIR_WGMMA("8", "%0, %1, %2, %3", "4", "5", "6", "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]))
}

template <DType kType, int kTransA>
__device__ __forceinline__ void Wgmma(float (&d)[8], uint64_t a, uint64_t b) {
  PAMIR_WGMMA("16", "%0, %1, %2, %3, %4, %5, %6, %7", "8", "9", "10", PAMIR_D8(d, 0))
}

template <DType kType, int kTransA>
__device__ __forceinline__ void Wgmma(float (&d)[16], uint64_t a, uint64_t b) {
  PAMIR_WGMMA("32", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "16",
              "17", "18", PAMIR_D8(d, 0), PAMIR_D8(d, 8))
}

template <DType kType, int kTransA>
__device__ __forceinline__ void Wgmma(float (&d)[32], uint64_t a, uint64_t b) {
  PAMIR_WGMMA("64",
              "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
              "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31",
              "32", "33", "34", PAMIR_D8(d, 0), PAMIR_D8(d, 8), PAMIR_D8(d, 16), PAMIR_D8(d, 24))
}

template <DType kType, int kTransA>
__device__ __forceinline__ void Wgmma(float (&d)[64], uint64_t a, uint64_t b) {
  PAMIR_WGMMA("128",
              "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
              "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "
              "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "
              "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63",
              "64", "65", "66", PAMIR_D8(d, 0), PAMIR_D8(d, 8), PAMIR_D8(d, 16), PAMIR_D8(d, 24),
              PAMIR_D8(d, 32), PAMIR_D8(d, 40), PAMIR_D8(d, 48), PAMIR_D8(d, 56))
}

template <DType kType, int kTransA>
__device__ __forceinline__ void Wgmma(float (&d)[128], uint64_t a, uint64_t b) {
  PAMIR_WGMMA("256",
              "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
              "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "
              "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "
              "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, "
              "%66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, "
              "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "
              "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
              "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, "
              "%126, %127",
              "128", "129", "130", PAMIR_D8(d, 0), PAMIR_D8(d, 8), PAMIR_D8(d, 16), PAMIR_D8(d, 24),
              PAMIR_D8(d, 32), PAMIR_D8(d, 40), PAMIR_D8(d, 48), PAMIR_D8(d, 56), PAMIR_D8(d, 64),
              PAMIR_D8(d, 72), PAMIR_D8(d, 80), PAMIR_D8(d, 88), PAMIR_D8(d, 96), PAMIR_D8(d, 104),
              PAMIR_D8(d, 112), PAMIR_D8(d, 120))
}

#undef PAMIR_WGMMA
#undef PAMIR_D8

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_HOPPER_CUH_
