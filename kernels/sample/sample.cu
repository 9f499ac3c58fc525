// A block of threads a row; its logits lie in shared memory where they fit, so that they are read
// from global memory once.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/sample/sample_block.cuh"
#include "kernels/sample/sample_cuda.h"

namespace pamir::kernels {
namespace {

using namespace cuda;  // NOLINT: the block's building stones

constexpr int kBins = 2048;
constexpr uint32_t kLowestKey = 0x007fffffu;  // of -inf: such an id is never drawn
constexpr int kMassBits = 32;
constexpr double kLog2E = 1.4426950408889634;

struct Shared {
  uint32_t high[kBins];  // a bin's mass is high * 2^16 + low; a count uses low alone
  uint32_t low[kBins];
  uint64_t warps[kSampleWarps];
  double sums[kSampleWarps];
  uint64_t needed;
  uint32_t bin;
  int id;
};

// NaN counts as -inf, -0 as 0.
__device__ __forceinline__ float CleanLogit(float logit) {
  const float x = logit + 0.0f;
  return x == x ? x : -INFINITY;
}

// One row: its logits as an order on unsigned integers, and their weights.
struct Row {
  const float* logits;
  int vocab;
  float max;
  double exponent_scale;  // log2(e) / temperature

  __device__ __forceinline__ float Logit(int i) const { return CleanLogit(logits[i]); }
  // Weight in units of 2^-32, within 2e-7 of it.
  __device__ __forceinline__ uint64_t Weight(float logit) const {
    const double y = (static_cast<double>(logit) - max) * exponent_scale;
    if (!(y > -(kMassBits + 1))) return 0;
    const double n = rint(y);
    const float fraction = exp2f(static_cast<float>(y - n));
    const float power = __int_as_float((static_cast<int>(n) + kMassBits + 127) << 23);
    return __float2ull_rn(fraction * power);
  }
};

__device__ __forceinline__ uint32_t KeyOf(float logit) {
  const uint32_t bits = __float_as_uint(logit);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float LogitOf(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// Kept: ids with a higher key, and those with this key and no higher id.
struct Cut {
  uint32_t key = kLowestKey;
  int id = -1;
  __device__ __forceinline__ bool Keeps(uint32_t k, int i) const {
    return k > key || (k == key && i <= id);
  }
};

// Philox4x32-10 (base/philox.h), for the device: word 0, its upper 24 bits.
__device__ __forceinline__ uint32_t PhiloxBits24(uint64_t seed, uint32_t stream, uint64_t index) {
  uint32_t c[4] = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), stream, 0};
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c[0]), low0 = 0xD2511F53u * c[0];
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c[2]), low1 = 0xCD9E8D57u * c[2];
    c[0] = high1 ^ c[1] ^ k0, c[1] = low1, c[2] = high0 ^ c[3] ^ k1, c[3] = low0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return c[0] >> 8;
}

// ids are cut into one range of whole 32s a warp, in order.
struct WarpRange {
  int begin, end;
};
__device__ __forceinline__ WarpRange RangeOfWarp(int vocab) {
  const int each = (vocab + kSampleThreads - 1) / kSampleThreads * 32;
  return {Warp() * each, min((Warp() + 1) * each, vocab)};
}

// Counts (or adds the mass of) the keys whose bits above shift + bits are `prefix`, by their next
// `bits` bits.
template <bool kMass>
__device__ __forceinline__ void FillBins(const Row& row, Shared& shared, uint32_t prefix, int shift,
                                         int bits) {
  for (int b = threadIdx.x; b < kBins; b += kSampleThreads) shared.high[b] = shared.low[b] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) {
    const float logit = row.Logit(i);
    const uint32_t key = KeyOf(logit);
    if (key <= kLowestKey || (shift + bits < 32 && key >> (shift + bits) != prefix)) continue;
    const uint32_t bin = key >> shift & ((1u << bits) - 1);
    if (!kMass) {
      atomicAdd(&shared.low[bin], 1u);
      continue;
    }
    const uint64_t weight = row.Weight(logit);
    if (weight == 0) continue;
    atomicAdd(&shared.high[bin], static_cast<uint32_t>(weight >> 16));
    atomicAdd(&shared.low[bin], static_cast<uint32_t>(weight & 0xffff));
  }
  __syncthreads();
}

// The highest bin with which `needed` is reached; what is needed of that bin goes to shared.
__device__ __forceinline__ void FindBin(Shared& shared, uint64_t needed) {
  static_assert(kBins == 2 * kSampleThreads);
  const uint32_t top = kBins - 1 - 2 * threadIdx.x;
  const auto amount = [&](uint32_t b) {
    return (static_cast<uint64_t>(shared.high[b]) << 16) + shared.low[b];
  };
  const uint64_t first = amount(top), second = amount(top - 1);
  const uint64_t above = BlockBefore(first + second, shared.warps);
  if (above < needed && needed <= above + first) {
    shared.bin = top, shared.needed = needed - above;
  } else if (above + first < needed && needed <= above + first + second) {
    shared.bin = top - 1, shared.needed = needed - above - first;
  }
  __syncthreads();
}

// The `ties`-th id with this key.
__device__ __forceinline__ int IdOfTie(const Row& row, Shared& shared, uint32_t key,
                                       uint64_t ties) {
  const WarpRange range = RangeOfWarp(row.vocab);
  uint64_t mine = 0;
  for (int i = range.begin; i < range.end; i += 32) {
    const int id = i + Lane();
    mine += __popc(__ballot_sync(~0u, id < range.end && KeyOf(row.Logit(id)) == key));
  }
  uint64_t before = WarpsBefore(mine, shared.warps);
  if (before < ties && ties <= before + mine) {
    for (int i = range.begin; i < range.end && before < ties; i += 32) {
      const int id = i + Lane();
      const bool is = id < range.end && KeyOf(row.Logit(id)) == key;
      const unsigned found = __ballot_sync(~0u, is);
      if (is && before + __popc(found & ((2u << Lane()) - 1)) == ties) shared.id = id;
      before += __popc(found);
    }
  }
  __syncthreads();
  return shared.id;
}

// The cut that keeps the fewest likeliest ids that reach `needed`: a count, or a mass. What all ids
// have must reach it.
template <bool kMass>
__device__ __forceinline__ Cut FindCut(const Row& row, Shared& shared, uint64_t needed) {
  constexpr int kShifts[] = {21, 10, 0}, kBits[] = {11, 11, 10};
  uint32_t prefix = 0;
#pragma unroll 1
  for (int pass = 0; pass < 3; ++pass) {
    FillBins<kMass>(row, shared, prefix, kShifts[pass], kBits[pass]);
    FindBin(shared, needed);
    prefix = prefix << kBits[pass] | shared.bin;
    needed = shared.needed;
    __syncthreads();
  }
  uint64_t ties = needed;
  if (kMass) {
    const uint64_t each = row.Weight(LogitOf(prefix));
    ties = (needed + each - 1) / each;
  }
  return {prefix, IdOfTie(row, shared, prefix, ties)};
}

// Mass of what the cut keeps of the warp's range.
__device__ __forceinline__ uint64_t WarpMass(const Row& row, const Cut& cut) {
  const WarpRange range = RangeOfWarp(row.vocab);
  uint64_t mass = 0;
  for (int i = range.begin + Lane(); i < range.end; i += 32) {
    const float logit = row.Logit(i);
    if (cut.Keeps(KeyOf(logit), i)) mass += row.Weight(logit);
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) mass += __shfl_xor_sync(~0u, mass, lanes);
  return mass;
}

// The first kept id whose cumulative mass exceeds u times the kept mass; u = bits / 2^24.
__device__ __forceinline__ int Walk(const Row& row, Shared& shared, const Cut& cut, uint32_t bits) {
  const uint64_t mine = WarpMass(row, cut);
  uint64_t before = WarpsBefore(mine, shared.warps);
  const uint64_t mass = __shfl_sync(~0u, WarpPrefix(shared.warps[Lane()]), 31);
  constexpr uint64_t kLow24 = (1u << 24) - 1;
  const uint64_t target = (mass >> 24) * bits + ((mass & kLow24) * bits >> 24);
  if (before <= target && target < before + mine) {
    const WarpRange range = RangeOfWarp(row.vocab);
    for (int i = range.begin; i < range.end; i += 32) {
      const int id = i + Lane();
      uint64_t weight = 0;
      if (id < range.end) {
        const float logit = row.Logit(id);
        if (cut.Keeps(KeyOf(logit), id)) weight = row.Weight(logit);
      }
      const uint64_t sum = before + WarpPrefix(weight);
      const unsigned past = __ballot_sync(~0u, sum > target);
      if (past != 0) {
        if (Lane() == __ffs(past) - 1) shared.id = id;
        break;
      }
      before = __shfl_sync(~0u, sum, 31);
    }
  }
  __syncthreads();
  return shared.id;
}

__device__ __forceinline__ int Draw(const Row& row, Shared& shared, const SampleRow& params) {
  Cut cut;
  const auto plus = [](uint64_t a, uint64_t b) { return a + b; };
  if (params.top_k > 0 && params.top_k < row.vocab) {
    uint64_t candidates = 0;
    for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) {
      candidates += KeyOf(row.Logit(i)) > kLowestKey;
    }
    candidates = BlockReduce(candidates, shared.warps, plus);
    if (static_cast<uint64_t>(params.top_k) < candidates) {
      cut = FindCut<false>(row, shared, params.top_k);
    }
  }
  if (params.top_p < 1) {
    const uint64_t lane_mass = Lane() == 0 ? 1 : 0;
    const uint64_t mass = BlockReduce(lane_mass * WarpMass(row, cut), shared.warps, plus);
    const double wanted = ceil(static_cast<double>(params.top_p) * static_cast<double>(mass));
    const uint64_t needed = wanted < 1 ? 1 : static_cast<uint64_t>(wanted);
    cut = FindCut<true>(row, shared, min(needed, mass));
  }
  return Walk(row, shared, cut, PhiloxBits24(params.seed, params.choice, params.position));
}

// The likeliest id (key above, inverted id below), and with it the maximum.
struct Likeliest {
  uint64_t best = static_cast<uint64_t>(kLowestKey) << 32 | 0xffffffffu;
  __device__ __forceinline__ void Add(float logit, int i) {
    const uint64_t key = KeyOf(logit);
    if (key > kLowestKey) best = max(best, key << 32 | (0xffffffffu - i));
  }
  __device__ __forceinline__ uint64_t OfBlock(Shared& shared) const {
    return BlockReduce(best, shared.warps, [](uint64_t a, uint64_t b) { return max(a, b); });
  }
};

// The likeliest of a row that lies in global memory, which a stage, if any, then holds too.
__device__ __forceinline__ uint64_t ReadRow(const Row& row, float* stage, Shared& shared) {
  Likeliest likeliest;
  const int quads =
      reinterpret_cast<uintptr_t>(row.logits) % sizeof(float4) == 0 ? row.vocab / 4 : 0;
  const auto* from = reinterpret_cast<const float4*>(row.logits);
#pragma unroll 8
  for (int q = threadIdx.x; q < quads; q += kSampleThreads) {
    const float4 v = __ldcs(from + q);
    if (stage != nullptr) reinterpret_cast<float4*>(stage)[q] = v;
    const float each[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int e = 0; e < 4; ++e) likeliest.Add(CleanLogit(each[e]), 4 * q + e);
  }
  for (int i = 4 * quads + threadIdx.x; i < row.vocab; i += kSampleThreads) {
    const float v = __ldcs(row.logits + i);
    if (stage != nullptr) stage[i] = v;
    likeliest.Add(CleanLogit(v), i);
  }
  return likeliest.OfBlock(shared);
}

// log(sum of exp(logit - max)): fp32 terms, added in double in an order that the width fixes.
__device__ __forceinline__ double LogMass(const Row& row, Shared& shared) {
  double sum = 0;
  for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) sum += expf(row.Logit(i) - row.max);
  return log(BlockReduce(sum, shared.sums, [](double a, double b) { return a + b; }));
}

__global__ void __launch_bounds__(kSampleThreads)
    SampleKernel(const __grid_constant__ SampleCudaArgs args, bool staged) {
  extern __shared__ __align__(16) float stage[];
  __shared__ Shared shared;
  AwaitPrevious();
  AllowNext();
  const float* logits = args.logits + blockIdx.x * args.stride;
  Row row = {logits, static_cast<int>(args.vocab), 0, 0};
  const SampleRow params = args.params[blockIdx.x];
  const uint64_t best = ReadRow(row, staged ? stage : nullptr, shared);
  if (staged) row.logits = stage;
  row.max = LogitOf(static_cast<uint32_t>(best >> 32));
  const double log_mass = LogMass(row, shared);
  int token = static_cast<int>(0xffffffffu - static_cast<uint32_t>(best));  // 0 where none is
  if (params.temperature > 0 && row.max > -INFINITY) {
    row.exponent_scale = kLog2E / params.temperature;
    token = Draw(row, shared, params);
  }
  if (threadIdx.x != 0) return;
  args.tokens[blockIdx.x] = token;
  if (args.slots != nullptr) args.sampled[args.slots[blockIdx.x]] = token;
  args.logprobs[blockIdx.x] =
      static_cast<float>(static_cast<double>(row.Logit(token)) - row.max - log_mass);
}

__global__ void __launch_bounds__(kSampleThreads)
    LogprobKernel(const __grid_constant__ LogprobCudaArgs args) {
  __shared__ Shared shared;
  AwaitPrevious();
  AllowNext();
  const float* logits = args.logits + blockIdx.x * args.stride;
  Row row = {logits, static_cast<int>(args.vocab), 0, 0};
  row.max = LogitOf(static_cast<uint32_t>(ReadRow(row, nullptr, shared) >> 32));
  const double log_mass = LogMass(row, shared);
  if (threadIdx.x != 0) return;
  const float logit = row.Logit(args.tokens[blockIdx.x]);
  args.logprobs[blockIdx.x] = static_cast<float>(static_cast<double>(logit) - row.max - log_mass);
}

}  // namespace

int SampleCuda(const SampleCudaArgs& args, StreamRef stream) {
  if (args.rows == 0) return cudaSuccess;
  if (args.vocab <= 0 || args.vocab > kSampleCudaVocabMax) return cudaErrorInvalidValue;
  int device = 0, shared_max = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&shared_max, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  const size_t bytes = args.vocab * sizeof(float);
  const bool staged = bytes + sizeof(Shared) <= static_cast<size_t>(shared_max);
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>(args.rows));
  shape.threads = kSampleThreads;
  shape.shared_bytes = staged ? bytes : 0;
  shape.dependent = args.dependent_launch;
  return Launch(stream, shape, SampleKernel, args, staged);
}

int TokenLogprobsCuda(const LogprobCudaArgs& args, StreamRef stream) {
  if (args.rows == 0) return cudaSuccess;
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>(args.rows));
  shape.threads = kSampleThreads;
  shape.dependent = args.dependent_launch;
  return Launch(stream, shape, LogprobKernel, args);
}

}  // namespace pamir::kernels
