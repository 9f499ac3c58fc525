// The write into the cache: 16 bytes (8 elements of one token) a thread.
#include "kernels/attention/attention_kernels.cuh"
#include "kernels/attention/attention_mma.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 8;

// Grid: (chunks of all heads / kThreads, tokens, 2: k and v).
__global__ void __launch_bounds__(kThreads)
    WriteKvKernel(const __grid_constant__ AttentionCudaArgs args, int dim) {
  const int chunks = dim / kChunk;
  const int i = blockIdx.x * kThreads + threadIdx.x;
  cuda::AwaitPrevious();
  cuda::AllowNext();
  if (i >= args.kv.heads * chunks) return;
  const int head = i / chunks, chunk = i - head * chunks, token = blockIdx.y;
  const int position = args.positions[token];
  const int64_t block =
      args.block_table[args.token_row[token] * args.max_blocks + position / kKvCudaBlock];
  const int64_t part = blockIdx.z + 1;  // q, k, v
  const uint16_t* from = static_cast<const uint16_t*>(args.qkv) + token * args.qkv_stride +
                         (part * args.kv.heads + head) * args.kv.head_dim;
  uint16_t* plane = static_cast<uint16_t*>(blockIdx.z == 0 ? args.kv.k : args.kv.v);
  uint16_t* to = plane + (block * args.kv.heads + head) * (kKvCudaBlock * dim) +
                 cuda::ChunkOffset(position, chunk, dim);
  *reinterpret_cast<uint4*>(to) = cuda::KvChunk(from, chunk * kChunk, args.kv.head_dim);
}

}  // namespace

int WriteKvCuda(const AttentionCudaArgs& args, int64_t tokens, StreamRef stream) {
  if (tokens == 0) return cudaSuccess;
  if (args.type == DType::kFloat32) return cuda::WriteKvFloat32(args, tokens, stream);
  const int dim = static_cast<int>(PaddedHeadDim(args.kv.head_dim));
  const int64_t chunks = static_cast<int64_t>(args.kv.heads) * dim / kChunk;
  cuda::Shape shape;
  shape.grid = dim3(static_cast<unsigned>((chunks + kThreads - 1) / kThreads),
                    static_cast<unsigned>(tokens), 2);
  shape.threads = kThreads;
  shape.dependent = args.dependent_launch;
  return cuda::Launch(stream, shape, WriteKvKernel, args, dim);
}

}  // namespace pamir::kernels
