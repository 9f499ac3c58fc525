#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/convert/convert_cuda.h"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kGridYMax = 65535;

constexpr int kTile = 32;  // a warp's width
constexpr int kTileRows = kThreads / kTile;

// Grid: (tiles of columns, tiles of rows, striding over the rest).
template <typename T>
__global__ void __launch_bounds__(kThreads)
    TransposeKernel(const __grid_constant__ TransposeCudaArgs args) {
  __shared__ T tile[kTile][kTile + 1];  // one wider: its columns lie in different banks
  const T* in = static_cast<const T*>(args.in);
  T* out = static_cast<T*>(args.out);
  const int x = threadIdx.x % kTile, y = threadIdx.x / kTile;
  const int64_t column0 = static_cast<int64_t>(blockIdx.x) * kTile;
  for (int64_t row0 = static_cast<int64_t>(blockIdx.y) * kTile; row0 < args.rows;
       row0 += static_cast<int64_t>(gridDim.y) * kTile) {
#pragma unroll
    for (int i = y; i < kTile; i += kTileRows) {
      if (row0 + i < args.rows && column0 + x < args.columns) {
        tile[i][x] = in[(row0 + i) * args.in_stride + column0 + x];
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = y; i < kTile; i += kTileRows) {
      if (column0 + i < args.columns && row0 + x < args.rows) {
        out[(column0 + i) * args.out_stride + row0 + x] = tile[x][i];
      }
    }
    __syncthreads();
  }
}

// Grid: (pieces of a block, planes). A thread copies the same 16 bytes of every pair, so that the
// pairs keep their order without any thread waiting for another.
__global__ void __launch_bounds__(kThreads)
    CopyBlocksKernel(const __grid_constant__ CopyBlocksCudaArgs args) {
  const int64_t pieces = args.block_bytes / 16;
  const int64_t piece = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  cuda::AwaitPrevious();
  cuda::AllowNext();
  if (piece >= pieces) return;
  uint4* plane = static_cast<uint4*>(args.planes[blockIdx.y]);
  for (int64_t i = 0; i < args.count; ++i) {
    const BlockPair pair = args.pairs[i];
    plane[pair.to * pieces + piece] = plane[pair.from * pieces + piece];
  }
}

__global__ void __launch_bounds__(kThreads)
    RankSumKernel(const __grid_constant__ RankSumCudaArgs args) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  cuda::AwaitPrevious();
  cuda::AllowNext();
  const int64_t quadruples = args.count / 4;
  if (i < quadruples) {
    const auto part = [&](int64_t rank) {
      return reinterpret_cast<const float4*>(args.parts + rank * args.stride)[i];
    };
    float4 sum = part(0);
#pragma unroll 4
    for (int64_t r = 1; r < args.ranks; ++r) {
      const float4 v = part(r);
      sum = {__fadd_rn(sum.x, v.x), __fadd_rn(sum.y, v.y), __fadd_rn(sum.z, v.z),
             __fadd_rn(sum.w, v.w)};
    }
    reinterpret_cast<float4*>(args.out)[i] = sum;
    return;
  }
  const int64_t at = quadruples * 4 + i - quadruples;  // up to three behind the last quadruple
  if (at >= args.count) return;
  float sum = args.parts[at];
  for (int64_t r = 1; r < args.ranks; ++r) {
    sum = __fadd_rn(sum, args.parts[r * args.stride + at]);
  }
  args.out[at] = sum;
}

unsigned Blocks(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

}  // namespace

int TransposeCuda(const TransposeCudaArgs& args, StreamRef stream) {
  if (args.rows == 0 || args.columns == 0) return cudaSuccess;
  if (args.in_stride < args.columns || args.out_stride < args.rows) return cudaErrorInvalidValue;
  cuda::Shape shape;
  const int64_t tile_rows = (args.rows + kTile - 1) / kTile;
  shape.grid = dim3(Blocks(args.columns, kTile),
                    static_cast<unsigned>(std::min<int64_t>(tile_rows, kGridYMax)));
  shape.threads = kThreads;
  if (args.element_bytes == 2) return cuda::Launch(stream, shape, TransposeKernel<uint16_t>, args);
  if (args.element_bytes == 4) return cuda::Launch(stream, shape, TransposeKernel<uint32_t>, args);
  return cudaErrorInvalidValue;
}

int CopyBlocksCuda(const CopyBlocksCudaArgs& args, StreamRef stream) {
  if (args.count == 0 || args.plane_count == 0) return cudaSuccess;
  if (args.block_bytes <= 0 || args.block_bytes % 16 != 0 || args.plane_count > kGridYMax) {
    return cudaErrorInvalidValue;
  }
  cuda::Shape shape;
  shape.grid =
      dim3(Blocks(args.block_bytes / 16, kThreads), static_cast<unsigned>(args.plane_count));
  shape.threads = kThreads;
  shape.dependent = args.dependent_launch;
  return cuda::Launch(stream, shape, CopyBlocksKernel, args);
}

int RankSumCuda(const RankSumCudaArgs& args, StreamRef stream) {
  if (args.count == 0) return cudaSuccess;
  if (args.ranks < 1 || args.stride % 4 != 0 || args.stride < args.count) {
    return cudaErrorInvalidValue;
  }
  cuda::Shape shape;
  shape.grid = dim3(Blocks(args.count / 4 + args.count % 4, kThreads));
  shape.threads = kThreads;
  shape.dependent = args.dependent_launch;
  return cuda::Launch(stream, shape, RankSumKernel, args);
}

}  // namespace pamir::kernels
