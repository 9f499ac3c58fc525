// The write into the cache: 16 bytes (8 elements of one token) a thread.
#include "kernels/attention/attention_kernels.cuh"
#include "kernels/attention/attention_mma.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 8;
constexpr int kTokens = 4;  // of a thread

// Grid: (chunks of all heads / kThreads, tokens / kTokens). A thread has its tokens' K and V on
// their way together; where they go it looks up before qkv is awaited.
__global__ void __launch_bounds__(kThreads)
    WriteKvKernel(const __grid_constant__ AttentionCudaArgs args, int tokens, int dim) {
  const int chunks = dim / kChunk;
  const int i = blockIdx.x * kThreads + threadIdx.x;
  const int head = i / chunks, chunk = i - head * chunks, first = blockIdx.y * kTokens;
  if (i >= args.kv.heads * chunks) return;
  int64_t to[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const int token = min(first + t, tokens - 1), position = args.positions[token];
    const int64_t block =
        args.block_table[args.token_row[token] * args.max_blocks + position / kKvCudaBlock];
    to[t] = (block * args.kv.heads + head) * (kKvCudaBlock * dim) +
            cuda::ChunkOffset(position, chunk, dim);
  }
  cuda::AwaitPrevious();
  cuda::AllowNext();
  const int64_t part = int64_t{args.kv.heads} * args.kv.head_dim;  // from q to k to v
  uint4 values[kTokens][2];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const int token = min(first + t, tokens - 1);
    const uint16_t* q = static_cast<const uint16_t*>(args.qkv) + token * args.qkv_stride +
                        int64_t{head} * args.kv.head_dim;
    values[t][0] = cuda::KvChunk(q + part, chunk * kChunk, args.kv.head_dim);
    values[t][1] = cuda::KvChunk(q + 2 * part, chunk * kChunk, args.kv.head_dim);
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (first + t >= tokens) break;
    *reinterpret_cast<uint4*>(static_cast<uint16_t*>(args.kv.k) + to[t]) = values[t][0];
    *reinterpret_cast<uint4*>(static_cast<uint16_t*>(args.kv.v) + to[t]) = values[t][1];
  }
}

}  // namespace

int WriteKvCuda(const AttentionCudaArgs& args, int64_t tokens, StreamRef stream) {
  if (tokens == 0) return cudaSuccess;
  if (args.type == DType::kFloat32) return cuda::WriteKvFloat32(args, tokens, stream);
  if (args.kv.fp8) return cuda::WriteKvFp8(args, tokens, stream);
  const int dim = static_cast<int>(PaddedHeadDim(args.kv.head_dim));
  const int64_t chunks = static_cast<int64_t>(args.kv.heads) * dim / kChunk;
  cuda::Shape shape;
  shape.grid = dim3(static_cast<unsigned>((chunks + kThreads - 1) / kThreads),
                    static_cast<unsigned>((tokens + kTokens - 1) / kTokens));
  shape.threads = kThreads;
  shape.dependent = args.dependent_launch;
  return cuda::Launch(stream, shape, WriteKvKernel, args,
                      static_cast<int>(tokens), dim);
}

}  // namespace pamir::kernels
