// A block of threads a token or row.
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/embedding/embedding_cuda.h"

namespace pamir::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kPositionOffset = 2;  // OPT's table begins with two rows that no position uses

__device__ __forceinline__ float4 Add(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

__global__ void __launch_bounds__(kThreads)
    EmbedKernel(const __grid_constant__ EmbedCudaArgs args) {
  cuda::AwaitPrevious();
  cuda::AllowNext();
  const int64_t token = blockIdx.x, quadruples = args.width / 4;
  int64_t id = args.ids[token];
  if (id < 0) id = args.sampled[-1 - id];
  const int64_t row = id - args.first_row;
  const bool here = row >= 0 && row < args.table_rows;
  int64_t position = 0;
  if (args.positions != nullptr) position = args.positions[token] + kPositionOffset;
  for (int64_t i = threadIdx.x; i < quadruples; i += kThreads) {
    float4 x = {0, 0, 0, 0};
    if (here) x = cuda::LoadFour(args.table, args.table_type, row * quadruples + i);
    if (args.positions != nullptr) {
      x = Add(x, cuda::LoadFour(args.position_table, args.table_type, position * quadruples + i));
    }
    cuda::StoreFour(args.out, args.out_type, token * quadruples + i, x);
  }
}

__global__ void __launch_bounds__(kThreads)
    AddPositionsKernel(const __grid_constant__ AddPositionsCudaArgs args) {
  cuda::AwaitPrevious();
  cuda::AllowNext();
  const int64_t token = blockIdx.x, quadruples = args.width / 4;
  const int64_t row = args.positions[token] + kPositionOffset;
  float4* x = reinterpret_cast<float4*>(args.x) + token * quadruples;
  for (int64_t i = threadIdx.x; i < quadruples; i += kThreads) {
    x[i] = Add(x[i], cuda::LoadFour(args.table, args.table_type, row * quadruples + i));
  }
}

__global__ void __launch_bounds__(kThreads)
    PickRowsKernel(const __grid_constant__ PickRowsCudaArgs args) {
  cuda::AwaitPrevious();
  cuda::AllowNext();
  const int64_t pieces = args.row_bytes / 16;
  const uint4* from = static_cast<const uint4*>(args.in) + args.rows[blockIdx.x] * pieces;
  uint4* to = static_cast<uint4*>(args.out) + blockIdx.x * pieces;
  for (int64_t i = threadIdx.x; i < pieces; i += kThreads) to[i] = from[i];
}

__global__ void __launch_bounds__(kThreads)
    ScatterTokensKernel(const __grid_constant__ ScatterTokensCudaArgs args) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  cuda::AwaitPrevious();
  cuda::AllowNext();
  if (i < args.count) args.sampled[args.slots[i]] = args.tokens[i];
}

// A block of threads each.
template <typename Args>
int LaunchTokens(void (*kernel)(Args), const Args& args, int64_t tokens, StreamRef stream) {
  if (tokens == 0) return cudaSuccess;
  cuda::Shape shape;
  shape.grid = dim3(static_cast<unsigned>(tokens));
  shape.threads = kThreads;
  shape.dependent = args.dependent_launch;
  return cuda::Launch(stream, shape, kernel, args);
}

}  // namespace

int EmbedCuda(const EmbedCudaArgs& args, StreamRef stream) {
  if (args.width % 4 != 0) return cudaErrorInvalidValue;
  return LaunchTokens(EmbedKernel, args, args.tokens, stream);
}

int AddPositionsCuda(const AddPositionsCudaArgs& args, StreamRef stream) {
  if (args.width % 4 != 0) return cudaErrorInvalidValue;
  return LaunchTokens(AddPositionsKernel, args, args.tokens, stream);
}

int PickRowsCuda(const PickRowsCudaArgs& args, StreamRef stream) {
  if (args.row_bytes % 16 != 0) return cudaErrorInvalidValue;
  return LaunchTokens(PickRowsKernel, args, args.count, stream);
}

int ScatterTokensCuda(const ScatterTokensCudaArgs& args, StreamRef stream) {
  return LaunchTokens(ScatterTokensKernel, args, (args.count + kThreads - 1) / kThreads, stream);
}

}  // namespace pamir::kernels
