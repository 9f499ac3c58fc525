// One bug for each of compute-sanitizer's tools, planted on purpose: sanitize.sh expects each tool
// to report its own. Without a sanitizer the program does nothing harmful and succeeds.
#include <cuda_runtime.h>

namespace {

// racecheck: the other half's elements are read without a barrier.
__global__ void Race(float* out) {
  __shared__ float values[64];
  values[threadIdx.x] = static_cast<float>(threadIdx.x);
  out[threadIdx.x] = values[63 - threadIdx.x];
}

// initcheck: nobody wrote `in`.
__global__ void ReadUnwritten(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x]; }

// synccheck: half a warp waits at a barrier that the other half passes by.
__global__ void Diverge(float* out) {
  if (threadIdx.x < 16) __syncthreads();
  out[threadIdx.x] = 1;
}

// memcheck: an element behind the end, within what the allocator really hands out.
__global__ void WriteBehind(float* out) { out[64] = 1; }

}  // namespace

int main() {
  float *in = nullptr, *out = nullptr;
  if (cudaMalloc(&in, 64 * sizeof(float)) != cudaSuccess) return 1;
  if (cudaMalloc(&out, 64 * sizeof(float)) != cudaSuccess) return 1;
  Race<<<1, 64>>>(out);
  ReadUnwritten<<<1, 64>>>(in, out);
  Diverge<<<1, 32>>>(out);
  cudaDeviceSynchronize();
  WriteBehind<<<1, 1>>>(out);
  cudaDeviceSynchronize();
  return 0;
}
