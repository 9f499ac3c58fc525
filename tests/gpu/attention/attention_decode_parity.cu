// Decode: Hopper's kernel against the one for all devices, bit for bit, however many blocks share a
// token; steps that store their own keys and values; steps whose qkv comes late under programmatic
// dependent launch. Then the speed, unless "--quick". (gpu_attention compares decode with prefill
// and with a reference.)
#include <cuda_bf16.h>

#include "attention/attention_decode_times.cuh"
#include "attention/attention_last.cuh"

namespace pamir::gpu_test {
namespace {

using kernels::cuda::DecodeBy;
using kernels::cuda::DecodeWay;
using Bits = std::vector<uint16_t>;

double Differences(const Bits& a, const Bits& b) {
  double count = a.size() == b.size() ? 0 : 1e9;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) count += a[i] != b[i];
  return count;
}

std::string NameOf(const AttentionCase& c) {
  return "head dim " + std::to_string(c.shape().head_dim) + " x " +
         std::to_string(c.shape().heads) + ", " + std::to_string(c.shape().lengths.size()) +
         " rows up to " + std::to_string(c.longest()) + ": ";
}

double BFloat16Error(const Bits& half_bits, const Bits& bfloat16_bits, size_t shift) {
  double error = 0, norm = 0;
  for (size_t i = shift; i < half_bits.size(); ++i) {
    const double a = __half2float(half(__half_raw{half_bits[i]}));
    const double b = __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{bfloat16_bits[i - shift]}));
    error += (a - b) * (a - b), norm += a * a;
  }
  return std::sqrt(error / norm);
}

void CheckWays(Verdicts& verdicts, const CaseShape& shape, bool hopper) {
  AttentionCase c(shape);
  CUDA_CHECK(kernels::WriteKvCuda(c.Args(), c.tokens(), {}));
  const auto decode = [&](DecodeWay way, int cluster, DType out_type) {
    AttentionCudaArgs args = c.Args();
    args.out_type = out_type;
    c.PoisonOutput();
    CUDA_CHECK(DecodeBy(way, cluster, args, c.first(), c.computed(), c.longest(), {}));
    Bits out = c.Output();
    out.erase(out.begin(), out.begin() + c.first() * c.width());
    return out;
  };
  const Bits plain = decode(DecodeWay::kMma, 0, DType::kFloat16);
  const Bits bfloat16 = decode(DecodeWay::kMma, 0, DType::kBFloat16);
  verdicts.Row(NameOf(c) + "bf16 outputs against fp16", BFloat16Error(plain, bfloat16, 0), 3e-3);
  verdicts.Row(NameOf(c) + "bf16 outputs against others", BFloat16Error(plain, bfloat16, 1), 3e-3,
               false);
  if (!hopper) return;
  for (const int cluster : {0, 1, 2, 4, 8}) {
    verdicts.Row(NameOf(c) + "bits, Hopper, " + std::to_string(cluster) + " blocks share",
                 Differences(plain, decode(DecodeWay::kHopper, cluster, DType::kFloat16)), 0);
  }
  verdicts.Row(NameOf(c) + "bits, Hopper, bf16 outputs",
               Differences(bfloat16, decode(DecodeWay::kHopper, 0, DType::kBFloat16)), 0);
}

// More (token, head) than two windows of clusters: later sums go where the first ones went.
void CheckWindows(Verdicts& verdicts, const CaseShape& shape) {
  AttentionCase c(shape);
  CUDA_CHECK(kernels::WriteKvCuda(c.Args(), c.tokens(), {}));
  const auto decode = [&](int cluster) {
    c.PoisonOutput();
    CUDA_CHECK(
        DecodeBy(DecodeWay::kHopper, cluster, c.Args(), c.first(), c.computed(), c.longest(), {}));
    return c.Output();
  };
  verdicts.Row(NameOf(c) + "bits, Hopper, 1 and 2 blocks share", Differences(decode(1), decode(2)),
               0);
}

// Storing its own k and v gives the outputs and the cache that WriteKvCuda before it gives.
void CheckOwn(Verdicts& verdicts, const CaseShape& shape, const std::vector<DecodeWay>& ways) {
  AttentionCase c(shape);
  const int last_token = c.row_start(0) + shape.lengths[0] - 1;
  const half infinity = __ushort_as_half(0x7c00), minus = __ushort_as_half(0xfc00);
  c.SetInput(last_token, c.width() + 3, minus);  // of k and of v
  c.SetInput(last_token, 2 * c.width(), infinity);
  LastTokens last(c);
  c.PoisonCache();
  CUDA_CHECK(kernels::WriteKvCuda(c.Args(), c.tokens(), {}));
  const Bits out = last.Decode(DecodeWay::kMma, 0, false), cache = c.Cache();
  for (const DecodeWay way : ways) {
    const std::string name = NameOf(c) + (way == DecodeWay::kMma ? "mma" : "Hopper");
    for (const int cluster : {0, 2}) {
      last.WriteOld(c);
      verdicts.Row(name + ", bits, own k and v", Differences(out, last.Decode(way, cluster, true)),
                   0);
      verdicts.Row(name + ", cache, own k and v", Differences(cache, c.Cache()), 0);
      if (way == DecodeWay::kMma) break;
    }
    last.WriteOld(c);
    verdicts.Row(name + ", own k and v nowhere", Differences(out, last.Decode(way, 0, false)), 0,
                 false);
  }
}

// A slow kernel writes qkv while attention already runs.
void CheckLate(Verdicts& verdicts, const CaseShape& shape, DecodeWay way) {
  AttentionCase c(shape);
  LastTokens last(c);
  LateChain chain(last);
  last.WriteOld(c);
  Bits expected;
  for (int step = 0; step < LateChain::kSteps; ++step) {
    CUDA_CHECK(cudaMemcpy(last.qkv().get(), chain.Input(step), chain.inputs() * sizeof(half),
                          cudaMemcpyDeviceToDevice));
    const Bits out = last.Decode(DecodeWay::kMma, 0, true);
    expected.insert(expected.end(), out.begin(), out.end());
  }
  const Bits cache = c.Cache();
  const std::string name = NameOf(c) + (way == DecodeWay::kMma ? "mma" : "Hopper");
  const auto run = [&](bool awaits) {
    last.WriteOld(c);
    last.qkv().FillBytes(0xff), last.out().FillBytes(0xff);
    CUDA_CHECK(cudaDeviceSynchronize());
    TimeGraph([&](StreamRef s) { chain.Enqueue(way, c.longest() + 600, awaits, s); }, 2);
    return Differences(expected, chain.Saved());
  };
  verdicts.Row(name + ", bits, qkv comes late", run(true), 0);
  verdicts.Row(name + ", cache, qkv comes late", Differences(cache, c.Cache()), 0);
  verdicts.Row(name + ", outputs not awaited", run(false), 0, false);
}

int Main(Extent extent) {
  Verdicts verdicts;
  const bool hopper = HasHopper();
  if (!hopper) std::printf("no kernel for Hopper here: its checks do not run\n");
  std::vector<DecodeWay> ways = {DecodeWay::kMma};
  if (hopper) ways.push_back(DecodeWay::kHopper);
  if (extent == Extent::kTiny) {
    CheckWays(verdicts, {128, 2, {300, 3}, false, 299}, hopper);
    if (hopper) CheckWindows(verdicts, {64, 41, {260, 12}, false, 259});
    for (const int dim : {64, 80}) CheckOwn(verdicts, {dim, 2, {300, 33}}, ways);
    return verdicts.Finish();
  }
  for (const int dim : {64, 80, 128}) {
    CheckWays(verdicts, {dim, 3, {1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 700}}, hopper);
    CheckWays(verdicts, {dim, 40, {300, 5}}, hopper);
    CheckWays(verdicts, {dim, 2, {2048}}, hopper);
    CheckOwn(verdicts, {dim, 5, {700, 1, 2, 16, 17, 32, 64, 65, 256, 257, 511, 2048}}, ways);
    for (const DecodeWay way : hopper ? ways : std::vector<DecodeWay>{}) {  // dependent launches
      CheckLate(verdicts, {dim, 40, {600, 257, 33, 1}}, way);
      CheckLate(verdicts, {dim, 12, {513}}, way);
    }
  }
  CheckOwn(verdicts, {36, 3, {700, 1, 17, 256, 257}}, {DecodeWay::kMma});
  CheckOwn(verdicts, {256, 3, {700, 1, 17, 256, 257}}, {DecodeWay::kMma});
  if (extent == Extent::kFull) DecodeTimes(hopper);
  return verdicts.Finish();
}

}  // namespace
}  // namespace pamir::gpu_test

int main(int argc, char** argv) {
  return pamir::gpu_test::Main(pamir::gpu_test::ExtentOf(argc, argv));
}
