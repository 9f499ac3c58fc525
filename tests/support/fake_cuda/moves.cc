// Transposes, copies of KV blocks, the sum over ranks, reading for its own sake.
#include <cstring>
#include <numeric>

#include "support/fake_cuda/launch.h"
#include "support/fake_cuda/runtime.h"

namespace pamir::testing {
namespace {

using kernels::BlockPair;
using kernels::CopyBlocksCudaArgs;
using kernels::RankSumCudaArgs;
using kernels::TransposeCudaArgs;

int Transpose(const TransposeCudaArgs& a, StreamRef stream) {
  if (a.rows == 0 || a.columns == 0) return FakeState::Current().Return(0);
  if (a.in_stride < a.columns || a.out_stride < a.rows) return Refuse();
  if (a.element_bytes != 2 && a.element_bytes != 4) return Refuse();
  return Launch("transpose", stream)
      .Touches("in", a.in, Span(a.rows, a.in_stride, a.columns, a.element_bytes), a.element_bytes)
      .Touches("out", a.out, Span(a.columns, a.out_stride, a.rows, a.element_bytes),
               a.element_bytes)
      .Go([a] {
        for (int64_t c = 0; c < a.columns; ++c) {
          for (int64_t r = 0; r < a.rows; ++r) {
            std::memcpy(static_cast<char*>(a.out) + (c * a.out_stride + r) * a.element_bytes,
                        static_cast<const char*>(a.in) + (r * a.in_stride + c) * a.element_bytes,
                        static_cast<size_t>(a.element_bytes));
          }
        }
      });
}

void CopyPair(char* plane, BlockPair pair, int64_t block_bytes) {
  char* to = plane + pair.to * block_bytes;
  const char* from = plane + pair.from * block_bytes;
  CheckDeviceRange("copy_blocks", -1, {"block to", to, block_bytes});
  CheckDeviceRange("copy_blocks", -1, {"block from", from, block_bytes});
  std::memmove(to, from, static_cast<size_t>(block_bytes));
}

int CopyBlocks(const CopyBlocksCudaArgs& a, StreamRef stream) {
  constexpr int64_t kPlanesMax = 65535;
  if (a.count == 0 || a.plane_count == 0) return FakeState::Current().Return(0);
  if (a.block_bytes <= 0 || a.block_bytes % 16 != 0 || a.plane_count > kPlanesMax) return Refuse();
  return Launch("copy_blocks", stream)
      .Touches("planes", a.planes, a.plane_count * static_cast<int64_t>(sizeof(void*)), 8)
      .Touches("pairs", a.pairs, a.count * static_cast<int64_t>(sizeof(BlockPair)))
      .Go([a] {
        for (int64_t p = 0; p < a.plane_count; ++p) {
          for (int64_t i = 0; i < a.count; ++i) {
            CopyPair(static_cast<char*>(a.planes[p]), a.pairs[i], a.block_bytes);
          }
        }
      });
}

int RankSum(const RankSumCudaArgs& a, StreamRef stream) {
  if (a.count == 0) return FakeState::Current().Return(0);
  if (a.ranks < 1 || a.stride % 4 != 0 || a.stride < a.count) return Refuse();
  return Launch("rank_sum", stream)
      .Touches("parts", a.parts, Span(a.ranks, a.stride, a.count, 4), 16)
      .Touches("out", a.out, a.count * 4, 16)
      .Go([a] {
        for (int64_t i = 0; i < a.count; ++i) {
          float sum = a.parts[i];
          for (int64_t r = 1; r < a.ranks; ++r) sum += a.parts[r * a.stride + i];
          a.out[i] = sum;
        }
      });
}

int ReadBandwidth(const void* data, int64_t bytes, float* sink, StreamRef stream) {
  if (bytes <= 0 || bytes % 16 != 0) return Refuse();
  return Launch("read_bandwidth", stream)
      .Touches("data", data, bytes, 16)
      .Touches("sink", sink, sizeof(float))
      .Go([=] {
        const auto* words = static_cast<const uint64_t*>(data);
        const uint64_t sum = std::accumulate(words, words + bytes / 8, uint64_t{0});
        *sink = static_cast<float>(sum);
      });
}

}  // namespace

void FillMoves(kernels::CudaApi* api) {
  api->transpose = Transpose;
  api->copy_blocks = CopyBlocks;
  api->rank_sum = RankSum;
  api->read_bandwidth = ReadBandwidth;
}

}  // namespace pamir::testing
