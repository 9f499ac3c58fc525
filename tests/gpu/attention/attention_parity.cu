// Attention on the GPU against a reference in double, and every way of computing a token against
// every other, bit for bit. Then its speed, unless "--quick" or "--tiny".
#include <cstring>

#include "attention/attention_case.cuh"
#include "attention/attention_times.cuh"

namespace pamir::gpu_test {
namespace {

using kernels::DecodeAttentionCuda;
using kernels::PrefillAttentionCuda;
using kernels::PrefillWay;
using kernels::WriteKvCuda;
using Bits = std::vector<uint16_t>;

double Differences(const Bits& a, const Bits& b) {
  double count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

Bits ByDecode(AttentionCase& c) {
  c.PoisonOutput();
  CUDA_CHECK(DecodeAttentionCuda(c.Args(), c.first(), c.computed(), c.longest(), {}));
  return c.Output();
}

Bits ByPrefill(AttentionCase& c, int tile_size, PrefillWay way) {
  c.PoisonOutput();
  const Buffer<QueryTile> tiles(c.Tiles(tile_size));
  CUDA_CHECK(PrefillAttentionCuda(c.Args(), tiles.get(), tiles.size(), c.longest(), {}, way));
  return c.Output();
}

// As chunks come: each is written, then computed, while the cache behind it is still NaN.
Bits ByChunks(AttentionCase& c, const std::vector<int>& sizes, PrefillWay way) {
  c.PoisonCache();
  c.PoisonOutput();
  for (size_t row = 0; row < c.shape().lengths.size(); ++row) {
    int at = c.row_begin(static_cast<int>(row));
    CUDA_CHECK(WriteKvCuda(c.Args(c.row_start(row)), at, {}));
    for (size_t i = 0; at < c.shape().lengths[row]; ++i) {
      const int count = std::min(sizes[i % sizes.size()], c.shape().lengths[row] - at);
      const AttentionCudaArgs args = c.Args(c.row_start(row) + at);
      CUDA_CHECK(WriteKvCuda(args, count, {}));
      if (count == 1) {
        CUDA_CHECK(DecodeAttentionCuda(args, 0, 1, at + 1, {}));
      } else {
        const Buffer<QueryTile> tile(std::vector<QueryTile>{{0, count}});
        CUDA_CHECK(PrefillAttentionCuda(args, tile.get(), 1, at + count, {}, way));
      }
      at += count;
      CUDA_CHECK(cudaDeviceSynchronize());
    }
  }
  return c.Output();
}

// Largest relative error of a token's head, over some of them; keys_off: the broken twin sees
// fewer.
double Error(const AttentionCase& c, const Bits& bits, int keys_off) {
  double worst = 0;
  const int dim = c.shape().head_dim;
  for (size_t row = 0; row < c.shape().lengths.size(); ++row) {
    const int length = c.shape().lengths[row];
    const int begin = c.row_begin(static_cast<int>(row));
    for (int p = std::max(begin, keys_off); p < length; p += std::max(1, (length - begin) / 23)) {
      for (int head = 0; head < c.shape().heads; head += std::max(1, c.shape().heads - 1)) {
        const std::vector<double> ref = c.Reference(row, p, head, p + 1 - keys_off);
        const uint16_t* got =
            &bits[(static_cast<size_t>(c.row_start(row) + p) * c.shape().heads + head) * dim];
        double error = 0, norm = 0;
        for (int d = 0; d < dim; ++d) {
          const double difference = __half2float(half(__half_raw{got[d]})) - ref[d];
          error += difference * difference, norm += ref[d] * ref[d];
        }
        const double relative = std::sqrt(error / norm);
        if (!(relative <= worst)) worst = relative;
      }
    }
  }
  return worst;
}

void CheckCase(Verdicts& verdicts, const CaseShape& shape,
               const std::vector<int>& chunks = {100, 1, 37, 1, 128, 5}) {
  AttentionCase c(shape);
  std::string name = "head dim " + std::to_string(shape.head_dim) + ", " +
                     std::to_string(shape.lengths.size()) + " rows up to " +
                     std::to_string(c.longest()) + (shape.loud ? ", loud" : "") + ": ";
  CUDA_CHECK(WriteKvCuda(c.Args(), c.tokens(), {}));
  const Bits decode = ByDecode(c);
  if (!shape.loud) {
    verdicts.Row(name + "relative error of decode", Error(c, decode, 0), 2e-3);
    verdicts.Row(name + "one key missing", Error(c, decode, 1), 2e-3, false);
  }
  verdicts.Row(name + "bits, decode again", Differences(decode, ByDecode(c)), 0);
  const bool fast = shape.head_dim == 64 || shape.head_dim == 80 || shape.head_dim == 128;
  std::vector<std::pair<std::string, PrefillWay>> ways = {{"", PrefillWay::kBest}};
  if (fast) ways = {{" mma", PrefillWay::kMma}};
  if (fast && HasHopper()) ways.push_back({" wgmma", PrefillWay::kWgmma});
  for (const auto& [way_name, way] : ways) {
    verdicts.Row(name + "bits, prefill" + way_name, Differences(decode, ByPrefill(c, 128, way)), 0);
    verdicts.Row(name + "bits, tiles of 37" + way_name,
                 Differences(decode, ByPrefill(c, AttentionCase::kSmallestTile, way)), 0);
    verdicts.Row(name + "bits, chunks into a NaN cache" + way_name,
                 Differences(decode, ByChunks(c, chunks, way)), 0);
  }
}

// A row alone must give what it gives among others.
void CheckCompany(Verdicts& verdicts, int head_dim) {
  const CaseShape crowd = {head_dim, 3, {300, 17, 513, 1, 64}};
  AttentionCase c(crowd);
  CUDA_CHECK(WriteKvCuda(c.Args(), c.tokens(), {}));
  const Bits together = ByDecode(c);
  double differences = 0;
  const int64_t width = 3 * head_dim;
  for (size_t row = 0; row < crowd.lengths.size(); ++row) {
    c.PoisonOutput();
    const int last = c.row_start(row) + crowd.lengths[row] - 1;
    CUDA_CHECK(DecodeAttentionCuda(c.Args(), last, 1, crowd.lengths[row], {}));
    const Bits alone = c.Output();
    for (int64_t i = last * width; i < (last + 1) * width; ++i) {
      differences += alone[i] != together[i];
    }
  }
  verdicts.Row("head dim " + std::to_string(head_dim) + ": bits, a row alone and in company",
               differences, 0);
}

// More pieces of work than multiprocessors, handed out in a fixed order; twice in a row.
void CheckWithoutScratch(Verdicts& verdicts, int head_dim) {
  AttentionCase c({head_dim, 40, {600, 130}});
  CUDA_CHECK(WriteKvCuda(c.Args(), c.tokens(), {}));
  const Bits decode = ByDecode(c);
  const Buffer<QueryTile> tiles(c.Tiles(100));
  AttentionCudaArgs args = c.Args();
  args.scratch = nullptr;
  c.PoisonOutput();
  for (int i = 0; i < 2; ++i) {
    CUDA_CHECK(PrefillAttentionCuda(args, tiles.get(), tiles.size(), c.longest(), {}));
  }
  verdicts.Row("head dim " + std::to_string(head_dim) + ": bits, prefill without scratch",
               Differences(decode, c.Output()), 0);
}

// bf16 outputs: both ways of prefill against decode.
void CheckBFloat16(Verdicts& verdicts, int head_dim) {
  AttentionCase c({head_dim, 2, {300, 77}});
  CUDA_CHECK(WriteKvCuda(c.Args(), c.tokens(), {}));
  const Bits half = ByDecode(c);
  AttentionCudaArgs args = c.Args();
  args.out_type = DType::kBFloat16;
  c.PoisonOutput();
  CUDA_CHECK(DecodeAttentionCuda(args, 0, c.tokens(), c.longest(), {}));
  const Bits decode = c.Output();
  const std::string name = "head dim " + std::to_string(head_dim) + ", bf16 outputs: bits, ";
  verdicts.Row(name + "fp16 instead", Differences(decode, half), 0, false);
  const Buffer<QueryTile> tiles(c.Tiles(128));
  for (const PrefillWay way : {PrefillWay::kMma, PrefillWay::kWgmma}) {
    if (way == PrefillWay::kWgmma && !HasHopper()) continue;
    c.PoisonOutput();
    CUDA_CHECK(PrefillAttentionCuda(args, tiles.get(), tiles.size(), c.longest(), {}, way));
    verdicts.Row(name + (way == PrefillWay::kMma ? "mma" : "wgmma"),
                 Differences(decode, c.Output()), 0);
  }
}

}  // namespace

int Main(Extent extent) {
  Verdicts verdicts;
  if (extent == Extent::kTiny) {
    // Contexts on both sides of a split's border, a row alone, two tiles of 37 in a row.
    for (const int dim : {64, 80, 128, 36}) {
      CheckCase(verdicts, {dim, 1, {260, 1, 40}, false, 254}, {5, 1, 37});
    }
    return verdicts.Finish();
  }
  for (const int dim : {64, 80, 128, 16, 36, 96, 256}) {
    CheckCase(verdicts, {dim, 3, {1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 700}});
    CheckCase(verdicts, {dim, 2, {700, 130}, true});
    CheckCompany(verdicts, dim);
  }
  for (const int dim : {64, 80, 128}) {
    CheckCase(verdicts, {dim, 40, {1000, 513, 64}});
    CheckWithoutScratch(verdicts, dim);
    CheckBFloat16(verdicts, dim);
  }
  CheckCase(verdicts, {128, 2, {2048}});
  CheckCase(verdicts, {64, 2, {2048}});
  if (extent == Extent::kFull) AttentionTimes();
  return verdicts.Finish();
}

}  // namespace pamir::gpu_test

int main(int argc, char** argv) {
  return pamir::gpu_test::Main(pamir::gpu_test::ExtentOf(argc, argv));
}
