// Blocks of a cluster as decode uses them: a block sends sums of a split into another's shared
// memory, where an mbarrier counts their bytes.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_CLUSTER_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_CLUSTER_CUH_

#include "kernels/attention/mbarrier.cuh"

namespace pamir::kernels::cuda {

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ int ClusterRank() {
  int rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ int ClusterSize() {
  int size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
}
// This block's address in the shared memory of block `rank`.
__device__ __forceinline__ uint32_t AddressAt(uint32_t address, int rank) {
  uint32_t remote;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
  return remote;
}
#else
__device__ __forceinline__ int ClusterRank() { return 0; }
__device__ __forceinline__ int ClusterSize() { return 1; }
__device__ __forceinline__ uint32_t AddressAt(uint32_t address, int) { return address; }
#endif

// All blocks have begun, and their barriers are there, once every thread of the cluster has
// arrived.
__device__ __forceinline__ void ClusterArrive() {
  PAMIR_HOPPER("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void ClusterAwait() {
  PAMIR_HOPPER("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Addresses of AddressAt. Two floats, whose 8 bytes the barrier of the same block counts.
__device__ __forceinline__ void Send(uint32_t to, float first, float second, uint32_t barrier) {
  PAMIR_HOPPER(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(
          to),
      "r"(__float_as_uint(first)), "r"(__float_as_uint(second)), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void MbarrierArriveAt(uint32_t barrier) {
  PAMIR_HOPPER("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier)
               : "memory");
}
// As MbarrierAwait, for what other blocks of the cluster did.
__device__ __forceinline__ void MbarrierAwaitCluster(uint32_t barrier, uint32_t parity) {
  PAMIR_HOPPER(
      "{ .reg .pred done;\n"
      "again: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again; }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// Between ordinary stores to shared memory and a later bulk copy to the same place.
__device__ __forceinline__ void FenceBulkCopies() {
  PAMIR_HOPPER("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_CLUSTER_CUH_
