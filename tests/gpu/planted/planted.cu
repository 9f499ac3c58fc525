// One bug for each of compute-sanitizer's tools, planted on purpose: sanitize.sh expects each tool
// to report its own. Without a sanitizer the program does nothing harmful and succeeds.
#include <cuda_runtime.h>

#include <cstdio>

namespace {

constexpr int kElements = 4096;

// initcheck: nobody wrote `in`.
__global__ void ReadUnwritten(const float* in, float* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[i];
}

// initcheck, as in NVIDIA's own example: only a quarter of `values` was set.
__global__ void AddIndex(int* values) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  values[i] += i;
}

// racecheck: the other half's elements are read without a barrier.
__global__ void Race(float* out) {
  __shared__ float values[64];
  values[threadIdx.x] = static_cast<float>(threadIdx.x);
  out[threadIdx.x] = values[63 - threadIdx.x];
}

// synccheck: half a warp waits at a barrier that the other half passes by.
__global__ void Diverge(float* out) {
  if (threadIdx.x < 16) __syncthreads();
  out[threadIdx.x] = 1;
}

// memcheck: an element behind the end, within what the allocator really hands out.
__global__ void WriteBehind(float* out) { out[64] = 1; }

// A tool tells what it found once the kernel has ended; the next bug must not come between.
void End(const char* name) {
  std::printf("%s: %s\n", name, cudaGetErrorString(cudaDeviceSynchronize()));
}

}  // namespace

int main() {
  float *in = nullptr, *copy = nullptr, *out = nullptr;
  int* values = nullptr;
  if (cudaMalloc(&in, kElements * sizeof(float)) != cudaSuccess) return 1;
  if (cudaMalloc(&copy, kElements * sizeof(float)) != cudaSuccess) return 1;
  if (cudaMalloc(&values, kElements * sizeof(int)) != cudaSuccess) return 1;
  if (cudaMalloc(&out, 64 * sizeof(float)) != cudaSuccess) return 1;
  ReadUnwritten<<<kElements / 64, 64>>>(in, copy);
  End("ReadUnwritten");
  if (cudaMemset(values, 0, kElements) != cudaSuccess) return 1;
  AddIndex<<<kElements / 64, 64>>>(values);
  End("AddIndex");
  Race<<<1, 64>>>(out);
  End("Race");
  Diverge<<<1, 32>>>(out);
  End("Diverge");
  WriteBehind<<<1, 1>>>(out);
  End("WriteBehind");
  return 0;
}
