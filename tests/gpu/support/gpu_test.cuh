// What the GPU test programs share: error checks, buffers, a table of verdicts, timings by graph.
// A program ends with Verdicts::Finish(): 1 if any row failed.
#ifndef PAMIR_TESTS_GPU_SUPPORT_GPU_TEST_CUH_
#define PAMIR_TESTS_GPU_SUPPORT_GPU_TEST_CUH_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/stream.h"
#include "tests/gpu/support/extent.h"

namespace pamir::gpu_test {

inline void Check(int error, const char* what, int line) {
  if (error == cudaSuccess) return;
  std::printf("line %d: %s: %s\n", line, what, cudaGetErrorString(static_cast<cudaError_t>(error)));
  std::exit(1);
}
#define CUDA_CHECK(call) ::pamir::gpu_test::Check((call), #call, __LINE__)

// Device memory that lives as long as the object.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) {
    CUDA_CHECK(cudaMalloc(&data_, std::max<size_t>(count, 1) * sizeof(T)));
  }
  explicit Buffer(const std::vector<T>& from) : Buffer(from.size()) { Set(from); }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* get() const { return data_; }
  size_t size() const { return count_; }
  void Set(const std::vector<T>& from) {
    CUDA_CHECK(cudaMemcpy(data_, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> Get() const {
    std::vector<T> to(count_);
    CUDA_CHECK(cudaDeviceSynchronize());
    CUDA_CHECK(cudaMemcpy(to.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return to;
  }
  void FillBytes(int value) { CUDA_CHECK(cudaMemset(data_, value, count_ * sizeof(T))); }

 private:
  T* data_ = nullptr;
  size_t count_;
};

class Verdicts {
 public:
  // One row of the table; `expected` false: a broken twin, which must not pass.
  void Row(const std::string& name, double value, double tolerance, bool expected = true) {
    const bool passed = value <= tolerance;  // false for NaN
    const bool good = passed == expected;
    std::printf("%-76s %10.3g <= %-8.3g %s%s\n", name.c_str(), value, tolerance,
                good ? "ok" : "FAILED", expected ? "" : " (a broken twin, must exceed)");
    if (!good) ++failures_;
    ++rows_;
  }
  int Finish() const {
    std::printf("%d checks, %d failed\n", rows_, failures_);
    return failures_ == 0 ? 0 : 1;
  }

 private:
  int rows_ = 0, failures_ = 0;
};

// Median milliseconds of a graph that `enqueue` fills.
inline double TimeGraph(const std::function<void(StreamRef)>& enqueue, int repeats = 15) {
  cudaStream_t stream;
  CUDA_CHECK(cudaStreamCreate(&stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  enqueue({stream});  // loads the code
  CUDA_CHECK(cudaStreamSynchronize(stream));
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  enqueue({stream});
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t begin, end;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < repeats + 3; ++i) {
    CUDA_CHECK(cudaEventRecord(begin, stream));
    CUDA_CHECK(cudaGraphLaunch(exec, stream));
    CUDA_CHECK(cudaEventRecord(end, stream));
    CUDA_CHECK(cudaStreamSynchronize(stream));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 3) times.push_back(ms);
  }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

static __global__ void ReadAll(const uint4* from, size_t count, unsigned* out) {
  uint4 a = {0, 0, 0, 0};
  const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    const uint4 b = __ldcs(from + i), c = __ldcs(from + i + stride);
    const uint4 d = __ldcs(from + i + 2 * stride), e = __ldcs(from + i + 3 * stride);
    a.x ^= b.x ^ c.y ^ d.z ^ e.w, a.y ^= b.y ^ c.z ^ d.w ^ e.x;
    a.z ^= b.z ^ c.w ^ d.x ^ e.y, a.w ^= b.w ^ c.x ^ d.y ^ e.z;
  }
  if ((a.x ^ a.y ^ a.z ^ a.w) == 0x12345) *out = 1;
}

// Bytes per second of the fastest read-only loop over `bytes` at `from`: this card's limit.
inline double ReadOnlyRate(const void* from, size_t bytes) {
  Buffer<unsigned> out(1);
  double best = 0;
  for (const int blocks : {132 * 4, 132 * 8, 132 * 16, 132 * 32}) {
    const double ms = TimeGraph(
        [&](StreamRef stream) {
          ReadAll<<<blocks, 512, 0, static_cast<cudaStream_t>(stream.handle)>>>(
              static_cast<const uint4*>(from), bytes / 16, out.get());
        },
        7);
    best = std::max(best, bytes / (ms * 1e-3));
  }
  return best;
}

// Random numbers with a known sequence: PCG's output function over a counter.
class Random {
 public:
  explicit Random(uint32_t seed) : state_(seed * 2654435761u) {}
  uint32_t Bits() {
    uint32_t z = state_ = state_ * 747796405u + 2891336453u;
    z = ((z >> ((z >> 28) + 4)) ^ z) * 277803737u;
    return z ^ (z >> 22);
  }
  float Uniform() { return static_cast<float>(Bits() >> 8) * 0x1p-24f; }  // [0, 1)
  float Normal() {                                                        // nearly
    float sum = 0;
    for (int i = 0; i < 6; ++i) sum += Uniform();
    return (sum - 3) * 1.41421356f;
  }
  int Below(int n) { return static_cast<int>(Bits() % static_cast<uint32_t>(n)); }

 private:
  uint32_t state_;
};

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_SUPPORT_GPU_TEST_CUH_
