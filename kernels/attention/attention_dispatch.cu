// Which kernel computes what, and how the scratch is cut.
#include "kernels/attention/attention_cuda.h"
#include "kernels/attention/attention_kernels.cuh"

namespace pamir::kernels {
namespace {

constexpr int64_t kAlign = 256;
constexpr int64_t kGridMax = 65535;

int64_t Aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
int64_t Splits(int64_t context) { return (context + kSplitKeys - 1) / kSplitKeys; }

bool Valid(const AttentionCudaArgs& args) {
  const bool types = args.type == DType::kFloat32
                         ? args.out_type == DType::kFloat32
                         : args.type == DType::kFloat16 && args.out_type != DType::kFloat32;
  return types && !(args.kv.fp8 && args.type != DType::kFloat16) && args.kv.head_dim > 0 &&
         args.kv.head_dim <= kCudaHeadDimMax && args.kv.heads > 0 && args.kv.heads <= kGridMax &&
         args.qkv_stride % 8 == 0;
}

bool HasFastPath(int head_dim) { return head_dim == 64 || head_dim == 80 || head_dim == 128; }

// Of token `first` on.
AttentionCudaArgs From(const AttentionCudaArgs& args, int64_t first) {
  AttentionCudaArgs from = args;
  from.qkv = static_cast<const char*>(args.qkv) + first * args.qkv_stride * SizeOf(args.type);
  from.positions += first;
  from.token_row += first;
  return from;
}

// Counters first, and room for all: they stay zero whatever the size of a call's later parts.
cuda::DecodeCall MakeCall(const AttentionCudaArgs& args, int64_t tokens, int64_t context_max) {
  cuda::DecodeCall call;
  call.args = args;
  call.dim = static_cast<int>(PaddedHeadDim(args.kv.head_dim));
  call.splits_max = static_cast<int>(Splits(context_max));
  char* scratch = static_cast<char*>(args.scratch);
  const int64_t pairs = tokens * args.kv.heads;
  call.counters = reinterpret_cast<unsigned*>(scratch);
  scratch += Aligned(args.scratch_tokens * args.kv.heads * sizeof(unsigned));
  call.partial_ml = reinterpret_cast<float2*>(scratch);
  scratch += Aligned(pairs * call.splits_max * sizeof(float2));
  call.partial_o = reinterpret_cast<float*>(scratch);
  return call;
}

// Its shared memory tells which code the device would run: a build for older ones alone ("80", run
// on a 9.0 device from its PTX) has none of Hopper's own instructions.
__global__ void Probe(int* out) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __shared__ int mark[32];
  mark[threadIdx.x] = *out;
  __syncthreads();
  *out = mark[31 - threadIdx.x];
#endif
}

bool HasHopper() {
  int device = 0, major = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return false;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaFuncAttributes probe = {};
  return major == 9 && cudaFuncGetAttributes(&probe, Probe) == cudaSuccess &&
         probe.sharedSizeBytes > 0;
}

}  // namespace

int64_t AttentionCudaScratchBytes(int64_t tokens, int64_t context_max, int64_t heads,
                                  int64_t head_dim) {
  const int64_t pairs = tokens * heads, splits = Splits(context_max);
  return Aligned(pairs * 4) + Aligned(pairs * splits * 8) +
         Aligned(pairs * splits * PaddedHeadDim(head_dim) * 4);
}

int DecodeAttentionCuda(const AttentionCudaArgs& args, int64_t first, int64_t tokens,
                        int64_t context_max, StreamRef stream) {
  return cuda::DecodeBy(cuda::DecodeWay::kBest, 0, args, first, tokens, context_max, stream);
}

int PrefillAttentionCuda(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                         int64_t context_max, StreamRef stream, PrefillWay way) {
  if (count == 0) return cudaSuccess;
  if (!Valid(args) || count * kTileQueries > kGridMax) return cudaErrorInvalidValue;
  if (args.type == DType::kFloat32) {
    return cuda::AttendFloat32(args, 0, tiles, count * kTileQueries, stream);
  }
  if (!HasFastPath(args.kv.head_dim)) {
    if (count * kTileQueries > args.scratch_tokens) return cudaErrorInvalidValue;
    cuda::DecodeCall call = MakeCall(args, count * kTileQueries, context_max);
    call.tiles = tiles;
    return cuda::LaunchDecode(call, count * kTileQueries, stream);
  }
  if (way == PrefillWay::kBest) {
    way = HasHopper() && !args.kv.fp8 ? PrefillWay::kWgmma : PrefillWay::kMma;
  }
  if (way == PrefillWay::kMma) {
    return cuda::LaunchPrefillMma(args, tiles, count, context_max, stream);
  }
  if (args.kv.fp8) return cudaErrorInvalidValue;
  if (!HasHopper()) return cudaErrorNotSupported;
  return cuda::LaunchPrefillWgmma(args, tiles, count, context_max, stream);
}

namespace cuda {

int DecodeBy(DecodeWay way, int cluster, const AttentionCudaArgs& args, int64_t first,
             int64_t tokens, int64_t context_max, StreamRef stream) {
  if (tokens == 0) return cudaSuccess;
  if (!Valid(args) || tokens > kGridMax) return cudaErrorInvalidValue;
  if (args.type == DType::kFloat32) {
    const int error = args.write_kv ? WriteKvFloat32(From(args, first), tokens, stream) : 0;
    return error != cudaSuccess ? error : AttendFloat32(args, first, nullptr, tokens, stream);
  }
  if (tokens > args.scratch_tokens) return cudaErrorInvalidValue;
  DecodeCall call = MakeCall(args, tokens, context_max);
  call.first = first;
  call.cluster = cluster;
  const bool hopper =
      way != DecodeWay::kMma && !args.kv.fp8 && HasDecodeHopper(call) && HasHopper();
  if (way == DecodeWay::kHopper && !hopper) return cudaErrorInvalidValue;
  return hopper ? LaunchDecodeHopper(call, tokens, stream) : LaunchDecode(call, tokens, stream);
}

}  // namespace cuda

}  // namespace pamir::kernels
