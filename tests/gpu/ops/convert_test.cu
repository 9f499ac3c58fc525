#include <deque>

#include "kernels/convert/convert_cuda.h"
#include "ops/ops_test.cuh"

namespace pamir::gpu_test {
namespace {

using kernels::BlockPair;

std::vector<uint8_t> RandomBytes(int64_t count, uint32_t seed) {
  Random random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.Bits());
  return bytes;
}

struct TransposeCase {
  int64_t rows, columns, in_stride, out_stride, at;  // at: where the rows begin in the output's
};

// out, pre-filled with 0xff, after a transpose by plain loops; twin: one column off.
std::vector<uint8_t> TransposedOnCpu(const TransposeCase& c, int bytes,
                                     const std::vector<uint8_t>& in, bool twin) {
  std::vector<uint8_t> out(c.columns * c.out_stride * bytes, 0xff);
  for (int64_t row = 0; row < c.rows; ++row) {
    for (int64_t column = 0; column < c.columns; ++column) {
      const int64_t from = row * c.in_stride + (twin ? (column + 1) % c.columns : column);
      std::memcpy(&out[(column * c.out_stride + c.at + row) * bytes], &in[from * bytes], bytes);
    }
  }
  return out;
}

std::vector<uint8_t> Transposed(const TransposeCase& c, int bytes, const std::vector<uint8_t>& in) {
  const Buffer<uint8_t> in_gpu(in);
  Buffer<uint8_t> out(c.columns * c.out_stride * bytes);
  out.FillBytes(0xff);
  kernels::TransposeCudaArgs args;
  args.in = in_gpu.get(), args.rows = c.rows, args.columns = c.columns;
  args.in_stride = c.in_stride, args.out = out.get() + c.at * bytes;
  args.out_stride = c.out_stride, args.element_bytes = bytes;
  CUDA_CHECK(kernels::TransposeCuda(args, {}));
  return out.Get();
}

void CheckTranspose(Verdicts& verdicts, const TransposeCase& c) {
  for (const int bytes : {2, 4}) {
    const std::vector<uint8_t> in = RandomBytes(c.rows * c.in_stride * bytes, 7);
    const std::vector<uint8_t> out = Transposed(c, bytes, in);
    const std::string name = "transpose, " + std::to_string(c.rows) + " x " +
                             std::to_string(c.columns) + " of " + std::to_string(bytes) +
                             " bytes: ";
    verdicts.Row(name + "differing bytes", Differences(out, TransposedOnCpu(c, bytes, in, false)),
                 0);
    if (c.columns < 2) continue;
    verdicts.Row(name + "a column off", Differences(out, TransposedOnCpu(c, bytes, in, true)), 0,
                 false);
  }
}

// A chain, a block with two copies, and a block that is overwritten after it was copied.
const std::vector<BlockPair> kPairs = {{0, 5}, {0, 6}, {5, 7}, {3, 0}, {8, 8}, {7, 3}};
constexpr int kBlocks = 11;

void CheckCopyBlocks(Verdicts& verdicts, int planes, int64_t block_bytes) {
  std::deque<Buffer<uint8_t>> memory;
  std::vector<void*> pointers;
  std::vector<std::vector<uint8_t>> expected, reversed;
  for (int p = 0; p < planes; ++p) {
    expected.push_back(RandomBytes(kBlocks * block_bytes, 100 + p));
    reversed.push_back(expected.back());
    pointers.push_back(memory.emplace_back(expected.back()).get());
    const auto copy = [&](std::vector<uint8_t>& plane, const BlockPair& pair) {
      std::memmove(&plane[pair.to * block_bytes], &plane[pair.from * block_bytes], block_bytes);
    };
    for (const BlockPair& pair : kPairs) copy(expected[p], pair);
    for (auto pair = kPairs.rbegin(); pair != kPairs.rend(); ++pair) copy(reversed[p], *pair);
  }
  const Buffer<void*> planes_gpu(pointers);
  const Buffer<BlockPair> pairs_gpu(kPairs);
  kernels::CopyBlocksCudaArgs args;
  args.planes = planes_gpu.get(), args.plane_count = planes, args.block_bytes = block_bytes;
  args.pairs = pairs_gpu.get(), args.count = static_cast<int64_t>(kPairs.size());
  CUDA_CHECK(kernels::CopyBlocksCuda(args, {}));
  double differences = 0, twin = 0;
  for (int p = 0; p < planes; ++p) {
    const std::vector<uint8_t> got = memory[p].Get();
    differences += Differences(got, expected[p]);
    twin += Differences(got, reversed[p]);
  }
  const std::string name = "copying blocks, " + std::to_string(planes) + " planes, " +
                           std::to_string(block_bytes) + " bytes: ";
  verdicts.Row(name + "differing bytes", differences, 0);
  verdicts.Row(name + "pairs in the wrong order", twin, 0, false);
}

std::vector<float> SumOnCpu(const std::vector<float>& parts, int ranks, int64_t stride,
                            int64_t count, bool twin) {
  std::vector<float> sum(count);
  for (int64_t i = 0; i < count; ++i) {
    for (int k = 0; k < ranks; ++k) {
      const int rank = twin ? ranks - 1 - k : k;
      const float v = parts[rank * stride + i];
      sum[i] = k == 0 ? v : sum[i] + v;
    }
  }
  return sum;
}

void CheckRankSum(Verdicts& verdicts, int ranks, int64_t count) {
  const int64_t stride = (count + 3) / 4 * 4 + 4;
  const std::vector<float> parts = RandomFloats(ranks * stride, 9 + ranks);
  Buffer<float> parts_gpu(parts), out(count);
  out.FillBytes(0xff);
  kernels::RankSumCudaArgs args;
  args.parts = parts_gpu.get(), args.ranks = ranks, args.stride = stride, args.count = count;
  args.out = out.get();
  CUDA_CHECK(kernels::RankSumCuda(args, {}));
  const std::vector<float> apart = out.Get(), sum = SumOnCpu(parts, ranks, stride, count, false);
  args.out = parts_gpu.get();
  CUDA_CHECK(kernels::RankSumCuda(args, {}));
  std::vector<float> in_place = parts_gpu.Get();
  const bool rest_untouched = std::equal(in_place.begin() + count, in_place.end(),  //
                                         parts.begin() + count);
  in_place.resize(count);
  const std::string name =
      "sum over " + std::to_string(ranks) + " ranks of " + std::to_string(count) + ": ";
  verdicts.Row(name + "differing elements", Differences(apart, sum), 0);
  verdicts.Row(name + "in place", Differences(in_place, sum) + !rest_untouched, 0);
  if (ranks > 2 && count > 100) {
    verdicts.Row(name + "ranks in the wrong order",
                 Differences(apart, SumOnCpu(parts, ranks, stride, count, true)), 0, false);
  }
}

}  // namespace

void CheckConvert(Verdicts& verdicts, bool tiny) {
  CheckTranspose(verdicts, {1, 1, 1, 1, 0});
  CheckTranspose(verdicts, {33, 100, 100, 33, 0});
  CheckTranspose(verdicts, {65, 31, 40, 200, 17});
  CheckCopyBlocks(verdicts, 3, 16);
  CheckCopyBlocks(verdicts, 2, 24576);
  for (const int ranks : {1, 2, 3, 4, 8}) CheckRankSum(verdicts, ranks, 1027);
  CheckRankSum(verdicts, 5, 3);
  if (tiny) return;
  CheckTranspose(verdicts, {768, 3072, 3072, 768, 0});
  CheckTranspose(verdicts, {1000, 2500, 5000, 5120, 2048});
  CheckTranspose(verdicts, {2200000, 3, 3, 2200000, 0});  // more tiles of rows than a grid has
  CheckCopyBlocks(verdicts, 24, 163840);
  CheckRankSum(verdicts, 4, 128 * 5120);
}

void TimeConvert(double read_only_rate) {
  const auto report = [&](const std::string& what, double ms, double bytes) {
    std::printf("%-46s: %8.2f us, %.3f TB/s read and written, %.2f of the read-only stream\n",
                what.c_str(), ms * 1e3, bytes / ms * 1e-9, bytes / (ms * 1e-3) / read_only_rate);
  };
  Buffer<uint8_t> a(size_t{1} << 30), b(size_t{1} << 30);
  a.FillBytes(1), b.FillBytes(1);
  for (const int bytes : {2, 4}) {
    kernels::TransposeCudaArgs args;
    args.in = a.get(), args.rows = args.out_stride = 5120, args.columns = args.in_stride = 20480;
    args.out = b.get(), args.element_bytes = bytes;
    const double ms =
        TimeGraph([&](StreamRef stream) { CUDA_CHECK(kernels::TransposeCuda(args, stream)); });
    report("transpose 5120 x 20480 of " + std::to_string(bytes) + " bytes", ms,
           2.0 * bytes * 5120 * 20480);
  }
  std::vector<void*> planes;
  for (int i = 0; i < 80; ++i) planes.push_back(a.get() + int64_t{i} * 64 * 163840);
  const Buffer<void*> planes_gpu(planes);
  for (const int count : {1, 32}) {
    std::vector<BlockPair> pairs;
    for (int i = 0; i < count; ++i) pairs.push_back({i, 32 + i});
    const Buffer<BlockPair> pairs_gpu(pairs);
    kernels::CopyBlocksCudaArgs args;
    args.planes = planes_gpu.get(), args.plane_count = 80, args.block_bytes = 163840;
    args.pairs = pairs_gpu.get(), args.count = count;
    const double ms =
        TimeGraph([&](StreamRef stream) { CUDA_CHECK(kernels::CopyBlocksCuda(args, stream)); });
    report("copying " + std::to_string(count) + " blocks of 160 KiB in 80 planes", ms,
           2.0 * count * 80 * 163840);
  }
  for (const int64_t rows : {1, 64, 2048}) {
    kernels::RankSumCudaArgs args;
    args.parts = reinterpret_cast<const float*>(a.get()), args.ranks = 4;
    args.count = args.stride = rows * 5120, args.out = reinterpret_cast<float*>(b.get());
    const double ms =
        TimeGraph([&](StreamRef stream) { CUDA_CHECK(kernels::RankSumCuda(args, stream)); });
    report("sum over 4 ranks of " + std::to_string(rows) + " x 5120", ms,
           5.0 * 4 * static_cast<double>(args.count));
  }
}

}  // namespace pamir::gpu_test
