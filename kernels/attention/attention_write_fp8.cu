// The write into a cache in fp8: a warp for a token's k or v of a head, whose largest number must
// be known before any is stored.
#include "kernels/attention/attention_fp8.cuh"
#include "kernels/attention/attention_kernels.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kWarps = 8;

// Grid: (k and v of all heads / kWarps, tokens).
__global__ void __launch_bounds__(kWarps * 32)
    WriteKvFp8Kernel(const __grid_constant__ AttentionCudaArgs args, int dim) {
  const int token = blockIdx.y, heads = args.kv.heads;
  const int vector = blockIdx.x * kWarps + threadIdx.x / 32;  // the keys, then the values
  if (vector >= 2 * heads) return;
  const int head = vector % heads, position = args.positions[token];
  const int64_t id =
      args.block_table[args.token_row[token] * args.max_blocks + position / kKvCudaBlock];
  AwaitPrevious();
  AllowNext();
  const uint16_t* qkv = static_cast<const uint16_t*>(args.qkv) + token * args.qkv_stride;
  void* plane = vector < heads ? args.kv.k : args.kv.v;
  StoreFp8(Fp8Block(plane, id, heads, head, dim),
           qkv + (int64_t{heads} + vector) * args.kv.head_dim, position, dim, args.kv.head_dim);
}

}  // namespace

int WriteKvFp8(const AttentionCudaArgs& args, int64_t tokens, StreamRef stream) {
  Shape shape;
  shape.grid = dim3((2 * args.kv.heads + kWarps - 1) / kWarps, static_cast<unsigned>(tokens));
  shape.threads = kWarps * 32;
  shape.dependent = args.dependent_launch;
  return Launch(stream, shape, WriteKvFp8Kernel, args,
                static_cast<int>(PaddedHeadDim(args.kv.head_dim)));
}

}  // namespace pamir::kernels::cuda
