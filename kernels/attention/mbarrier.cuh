// Barriers in shared memory (mbarrier) and what goes with them on Hopper: bulk copies, turns of
// warpgroups, registers of a warpgroup. Shared memory by address (SharedAddress).
#ifndef PAMIR_KERNELS_ATTENTION_MBARRIER_CUH_
#define PAMIR_KERNELS_ATTENTION_MBARRIER_CUH_

#include <cstdint>

// Defined when compiling for 90a; elsewhere these functions stop the kernel, and nobody calls it.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define PAMIR_HOPPER(...) asm volatile(__VA_ARGS__)
#else
#define PAMIR_HOPPER(...) __trap()
#endif

namespace pamir::kernels::cuda {

// A phase ends when `arrivals` have come and all expected bytes are there; the first is phase 0.
__device__ __forceinline__ void MbarrierInit(uint32_t barrier, int arrivals) {
  PAMIR_HOPPER("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// After the inits; a __syncthreads() must follow.
__device__ __forceinline__ void MbarrierInitDone() {
  PAMIR_HOPPER("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void MbarrierArrive(uint32_t barrier) {
  PAMIR_HOPPER("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// As `count` threads that arrive.
__device__ __forceinline__ void MbarrierArrive(uint32_t barrier, int count) {
  PAMIR_HOPPER("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(count)
               : "memory");
}
__device__ __forceinline__ void MbarrierExpect(uint32_t barrier, uint32_t bytes) {
  PAMIR_HOPPER("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void MbarrierArriveExpect(uint32_t barrier, uint32_t bytes) {
  PAMIR_HOPPER("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Until the phase of this parity has ended. Before phase 0 parity 1 counts as ended.
__device__ __forceinline__ void MbarrierAwait(uint32_t barrier, uint32_t parity) {
  PAMIR_HOPPER(
      "{ .reg .pred done;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again; }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// `bytes` (a multiple of 16) from global to shared memory; counted by the barrier.
__device__ __forceinline__ void BulkCopy(uint32_t to, const void* from, uint32_t bytes,
                                         uint32_t barrier) {
  PAMIR_HOPPER(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barrier)
      : "memory");
}

// Two warpgroups take turns: each awaits its own barrier and passes on to the other's.
__device__ __forceinline__ void AwaitTurn(int group) {
  PAMIR_HOPPER("bar.sync %0, 256;" ::"r"(group + 1) : "memory");
}
__device__ __forceinline__ void PassTurn(int group) {
  PAMIR_HOPPER("bar.arrive %0, 256;" ::"r"(2 - group) : "memory");
}

// Registers a thread, for the calling warpgroup.
template <int kCount>
__device__ __forceinline__ void GiveUpRegisters() {
  PAMIR_HOPPER("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void TakeRegisters() {
  PAMIR_HOPPER("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_MBARRIER_CUH_
