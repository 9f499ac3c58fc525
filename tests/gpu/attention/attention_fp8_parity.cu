// A KV cache in fp8. Its rules say: the arithmetic of an fp16 cache that holds the numbers as they
// are read back. So the judge is attention over an fp16 cache, given k and v that the host has
// rounded by those rules; every way of computing a token over fp8 must have its bits.
#include <cuda_fp8.h>

#include <cstring>
#include <limits>

#include "attention/attention_case.cuh"
#include "attention/attention_decode_times.cuh"

namespace pamir::gpu_test {
namespace {

using kernels::DecodeAttentionCuda;
using kernels::PrefillAttentionCuda;
using kernels::PrefillWay;
using kernels::WriteKvCuda;
using Bits = std::vector<uint16_t>;

double Differences(const Bits& a, const Bits& b) {
  double count = a.size() == b.size() ? 0 : 1e9;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) count += a[i] != b[i];
  return count;
}

// A token's k or v of a head as it comes back from the cache.
void RoundVector(half* values, int count) {
  float amax = 0;
  for (int i = 0; i < count; ++i) {
    float value = __half2float(values[i]);
    if (std::isinf(value)) values[i] = __float2half(value = std::copysign(65504.0f, value));
    amax = std::fmax(amax, std::fabs(value));
  }
  const float wanted = std::clamp(amax / 448, 0x1p-24f, kernels::kKvFp8ScaleMax);
  const float scale = __half2float(__float2half_ru(wanted));
  for (int i = 0; i < count; ++i) {
    const __nv_fp8_storage_t stored =
        __nv_cvt_float_to_fp8(__half2float(values[i]) / scale, __NV_SATFINITE, __NV_E4M3);
    const half wide(__nv_cvt_fp8_to_halfraw(stored, __NV_E4M3));
    values[i] = __float2half_rn(__half2float(wide) * scale);
  }
}

// Vectors of many sizes: token t's k times 2^-(t mod 3), v times 2^-(t mod 12); a k of zeros, a v
// with infinities, one so small that its scale is the smallest.
std::vector<half> Inputs(const AttentionCase& c) {
  std::vector<half> input = c.input();
  const int64_t width = c.width();
  for (int t = 0; t < c.tokens(); ++t) {
    half* token = &input[t * c.stride()];
    for (int64_t i = width; i < 3 * width; ++i) {
      const bool v = i >= 2 * width;
      token[i] = __float2half(std::ldexp(__half2float(token[i]), v ? -(t % 12) : -(t % 3)));
      if (t % 50 == 7 && !v) token[i] = __float2half(0);
      if (t % 50 == 8 && v) token[i] = __float2half(std::ldexp(static_cast<float>(i % 5), -24));
    }
    if (t % 50 == 9) token[2 * width + t % width] = __ushort_as_half(0xfc00);
  }
  return input;
}

std::vector<half> Rounded(const AttentionCase& c, std::vector<half> input) {
  const int dim = c.shape().head_dim;
  for (int t = 0; t < c.tokens(); ++t) {
    for (int64_t at = c.width(); at < 3 * c.width(); at += dim) {
      RoundVector(&input[t * c.stride() + at], dim);
    }
  }
  return input;
}

class Fp8Case {
 public:
  explicit Fp8Case(const CaseShape& shape)
      : case_(shape),
        qkv_(Inputs(case_)),
        rounded_(Rounded(case_, qkv_.Get())),
        k_(PlaneBytes(shape)),
        v_(PlaneBytes(shape)) {}

  AttentionCase& shape() { return case_; }

  AttentionCudaArgs Args(int first = 0) const {
    AttentionCudaArgs args = case_.Args(first);
    args.qkv = qkv_.get() + first * case_.stride();
    args.kv.k = k_.get(), args.kv.v = v_.get(), args.kv.fp8 = true;
    return args;
  }
  // Over the fp16 cache; rounded: what the host made of k and v.
  Bits InFp16(bool rounded) {
    AttentionCudaArgs args = case_.Args();
    args.qkv = rounded ? rounded_.get() : qkv_.get();
    case_.PoisonOutput();
    CUDA_CHECK(WriteKvCuda(args, case_.tokens(), {}));
    CUDA_CHECK(DecodeAttentionCuda(args, 0, case_.tokens(), case_.longest(), {}));
    return case_.Output();
  }
  void Poison() { k_.FillBytes(0xff), v_.FillBytes(0xff); }  // NaN, scales too
  std::vector<char> Cache() const {
    std::vector<char> cache = k_.Get();
    const std::vector<char> values = v_.Get();
    cache.insert(cache.end(), values.begin(), values.end());
    return cache;
  }

 private:
  static size_t PlaneBytes(const CaseShape& shape) {
    int blocks = 3;
    for (const int n : shape.lengths) blocks += (n + 15) / 16;
    return kernels::KvCudaPlaneBytes(blocks, shape.heads, shape.head_dim, DType::kFloat16, true);
  }

  AttentionCase case_;
  Buffer<half> qkv_, rounded_;
  Buffer<char> k_, v_;
};

Bits ByDecode(Fp8Case& c) {
  c.shape().PoisonOutput();
  CUDA_CHECK(DecodeAttentionCuda(c.Args(), 0, c.shape().tokens(), c.shape().longest(), {}));
  return c.shape().Output();
}

Bits ByPrefill(Fp8Case& c, int tile_size) {
  c.shape().PoisonOutput();
  const Buffer<QueryTile> tiles(c.shape().Tiles(tile_size));
  CUDA_CHECK(PrefillAttentionCuda(c.Args(), tiles.get(), tiles.size(), c.shape().longest(), {}));
  return c.shape().Output();
}

// Each row by itself in chunks, single tokens storing their own k and v, into a cache of NaN.
Bits ByChunks(Fp8Case& c) {
  constexpr int kChunks[] = {100, 1, 37, 1, 1, 128, 5};
  c.Poison();
  c.shape().PoisonOutput();
  for (size_t row = 0; row < c.shape().shape().lengths.size(); ++row) {
    const int length = c.shape().shape().lengths[row];
    for (int at = 0, i = 0; at < length; ++i) {
      const int count = std::min(kChunks[i % 7], length - at);
      AttentionCudaArgs args = c.Args(c.shape().row_start(static_cast<int>(row)) + at);
      if (count == 1) {
        args.write_kv = true;
        CUDA_CHECK(DecodeAttentionCuda(args, 0, 1, at + 1, {}));
      } else {
        const Buffer<QueryTile> tile(std::vector<QueryTile>{{0, count}});
        CUDA_CHECK(WriteKvCuda(args, count, {}));
        CUDA_CHECK(PrefillAttentionCuda(args, tile.get(), 1, at + count, {}));
      }
      at += count;
      CUDA_CHECK(cudaDeviceSynchronize());
    }
  }
  return c.shape().Output();
}

void CheckCase(Verdicts& verdicts, const CaseShape& shape) {
  Fp8Case c(shape);
  const std::string name = "head dim " + std::to_string(shape.head_dim) + " x " +
                           std::to_string(shape.heads) + ", " +
                           std::to_string(shape.lengths.size()) + " rows up to " +
                           std::to_string(c.shape().longest()) + ": ";
  const Bits judge = c.InFp16(true);
  verdicts.Row(name + "bits, k and v not rounded", Differences(judge, c.InFp16(false)), 0, false);
  c.Poison();
  CUDA_CHECK(WriteKvCuda(c.Args(), c.shape().tokens(), {}));
  const std::vector<char> cache = c.Cache();
  verdicts.Row(name + "bits, decode", Differences(judge, ByDecode(c)), 0);
  verdicts.Row(name + "bits, prefill", Differences(judge, ByPrefill(c, 128)), 0);
  verdicts.Row(name + "bits, tiles of 37", Differences(judge, ByPrefill(c, 37)), 0);
  verdicts.Row(name + "bits, chunks and own k and v", Differences(judge, ByChunks(c)), 0);
  verdicts.Row(name + "cache, chunks and own k and v", cache == c.Cache() ? 0 : 1, 0);
}

// What has no kernel for fp8 says so.
void CheckRefusals(Verdicts& verdicts) {
  Fp8Case c({64, 1, {20}});
  const Buffer<QueryTile> tiles(c.shape().Tiles(128));
  const int wgmma = PrefillAttentionCuda(c.Args(), tiles.get(), 1, 20, {}, PrefillWay::kWgmma);
  const int hopper =
      kernels::cuda::DecodeBy(kernels::cuda::DecodeWay::kHopper, 0, c.Args(), 0, 1, 20, {});
  verdicts.Row("refused: wgmma", wgmma == cudaErrorInvalidValue ? 0 : 1, 0);
  verdicts.Row("refused: Hopper's decode", hopper == cudaErrorInvalidValue ? 0 : 1, 0);
}

void Times() {
  DecodeTimer timer;
  for (const auto& [dim, heads] : {std::pair{128, 40}, {64, 32}, {80, 32}}) {
    for (const int rows : {1, 8, 64}) {
      for (const bool fp8 : {false, true}) {
        timer.Time({.head_dim = dim, .heads = heads, .rows = rows, .context = 2048, .fp8 = fp8});
      }
    }
  }
}

int Main(Extent extent) {
  Verdicts verdicts;
  CheckRefusals(verdicts);
  for (const int dim : {64, 80, 128, 36}) {
    if (extent == Extent::kTiny) {
      CheckCase(verdicts, {dim, 1, {70, 1}});
      continue;
    }
    CheckCase(verdicts, {dim, 3, {1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 700}});
    CheckCase(verdicts, {dim, 17, {600}});
  }
  if (extent == Extent::kTiny) return verdicts.Finish();
  CheckCase(verdicts, {256, 2, {300, 17}});
  if (extent == Extent::kFull) Times();
  return verdicts.Finish();
}

}  // namespace
}  // namespace pamir::gpu_test

int main(int argc, char** argv) {
  return pamir::gpu_test::Main(pamir::gpu_test::ExtentOf(argc, argv));
}
