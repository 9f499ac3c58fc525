// Checks, the choice of back end, and the work of the threads.
#include "kernels/attention/attention.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/attention/attention_tile.h"

namespace pamir::kernels {
namespace {

// Multiply-adds below which waking the pool costs more than it saves.
constexpr int64_t kSerialWork = 1 << 15;
// Tokens of one head that one thread writes together: several blocks, so that threads seldom share
// a line of the transposed keys.
constexpr int64_t kWriteTokens = 64;
constexpr int64_t kAlignment = 64;

void CheckRows(const AttentionArgs& args) {
  const RowsView& rows = args.rows;
  PAMIR_CHECK(args.kv.heads > 0 && args.kv.head_dim > 0, "attention needs heads");
  PAMIR_CHECK(rows.rows == 0 || rows.row_start[rows.rows] == rows.tokens,
              absl::StrCat("rows end at token ", rows.row_start[rows.rows], " of ", rows.tokens));
  for (int64_t r = 0; r < rows.rows; ++r) {
    const int64_t begin = rows.row_start[r], end = rows.row_start[r + 1];
    PAMIR_CHECK(begin <= end, "row_start must not fall");
    if (begin == end) continue;
    const int64_t first = rows.positions[begin], last = rows.positions[end - 1];
    PAMIR_CHECK(first >= 0 && last - first == end - begin - 1,
                absl::StrCat("row ", r, " is not a run of positions: ", first, " .. ", last));
    PAMIR_CHECK(last < rows.max_blocks * kKvBlockTokens,
                absl::StrCat("position ", last, " is beyond ", rows.max_blocks, " blocks"));
  }
}

// CPUs keep the cache in float32: it is read by every later query, and conversions would cost more
// than the memory they save.
void CheckCpu(const KernelContext& context, const AttentionArgs& args) {
  PAMIR_CHECK(context.pool != nullptr, "the CPU back end needs its pool");
  PAMIR_CHECK(args.kv.dtype == DType::kFloat32, "the cache of the CPU back end is float32");
}

int32_t LastPosition(const RowsView& rows, int64_t row) {
  return rows.positions[rows.row_start[row + 1] - 1];
}

// Keys of up to 16 tokens of one block are written together: each line of the transposed block is
// touched once.
void WriteTile(const AttentionArgs& args, const AttentionTile& tile) {
  const KvLayer& kv = args.kv;
  const int64_t head_dim = kv.head_dim, width = kv.heads * head_dim;
  const int32_t* table = args.rows.block_table + tile.row * args.rows.max_blocks;
  int64_t token = tile.begin;
  while (token < tile.end) {
    const int64_t position = args.rows.positions[token];
    const int64_t block = table[position / kKvBlockTokens], slot = position % kKvBlockTokens;
    const int64_t count = std::min(tile.end - token, kKvBlockTokens - slot);
    PAMIR_CHECK(block >= 0 && block < kv.num_blocks,
                absl::StrCat("block ", block, " of ", kv.num_blocks));
    const int64_t base = (block * kv.heads + tile.head) * head_dim * kKvBlockTokens;
    const float* from = args.qkv + token * args.qkv_stride + width + tile.head * head_dim;
    float* k = static_cast<float*>(kv.k) + base + slot;
    for (int64_t d = 0; d < head_dim; ++d) {
      for (int64_t i = 0; i < count; ++i) {
        k[d * kKvBlockTokens + i] = from[i * args.qkv_stride + d];
      }
    }
    float* v = static_cast<float*>(kv.v) + base + slot * head_dim;
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(v + i * head_dim, from + i * args.qkv_stride + width, head_dim * sizeof(float));
    }
    token += count;
  }
}

int64_t ScratchFloats(int64_t context, int64_t head_dim) {
  return RoundUp(TileScratchFloats(context, head_dim), kAlignment / sizeof(float));
}

}  // namespace

int64_t KvPlaneBytes(DType dtype, int64_t num_blocks, int64_t heads, int64_t head_dim) {
  return num_blocks * heads * head_dim * kKvBlockTokens * static_cast<int64_t>(SizeOf(dtype));
}

int64_t AttentionScratchBytes(int64_t tokens_max, int64_t context_max, int64_t heads,
                              int64_t head_dim, int threads) {
  return threads * ScratchFloats(context_max, head_dim) * static_cast<int64_t>(sizeof(float));
}

void WriteKv(const KernelContext& context, const AttentionArgs& args) {
  CheckRows(args);
  if (context.backend == Backend::kReference) return WriteKvReference(args);
  CheckCpu(context, args);
  const int64_t work = args.rows.tokens * args.kv.heads * args.kv.head_dim;
  const int parts = work < kSerialWork ? 1 : context.pool->threads();
  context.pool->ParallelFor(parts, [&](int part) {
    ForEachTile(args.rows, args.kv.heads, kWriteTokens, part, parts,
                [&](const AttentionTile& tile) { WriteTile(args, tile); });
  });
}

void Attention(const KernelContext& context, const AttentionArgs& args) {
  CheckRows(args);
  if (context.backend == Backend::kReference) return AttentionReference(args);
  CheckCpu(context, args);
  const KvLayer& kv = args.kv;
  int64_t longest = 0, pairs = 0;  // positions of the longest row; (query, key) pairs, roughly
  for (int64_t r = 0; r < args.rows.rows; ++r) {
    const int64_t count = args.rows.row_start[r + 1] - args.rows.row_start[r];
    if (count == 0) continue;
    const int64_t context_length = LastPosition(args.rows, r) + 1;
    longest = std::max(longest, context_length);
    pairs += count * context_length;
  }
  const int64_t stride = ScratchFloats(longest, kv.head_dim);
  const int parts = pairs * kv.heads * kv.head_dim < kSerialWork ? 1 : context.pool->threads();
  context.pool->ParallelFor(parts, [&](int part) {
    TileScratch scratch;
    scratch.scores = static_cast<float*>(args.scratch) + part * stride;
    scratch.score_stride = ScoreStride(longest);
    scratch.queries = scratch.scores + kTileTokens * scratch.score_stride;
    ForEachTile(args.rows, kv.heads, kTileTokens, part, parts,
                [&](const AttentionTile& tile) { AttendTile(args, tile, scratch); });
  });
}

void CopyKvBlock(const KvLayer& kv, int64_t from, int64_t to) {
  PAMIR_CHECK(from >= 0 && from < kv.num_blocks && to >= 0 && to < kv.num_blocks && from != to,
              absl::StrCat("copy of block ", from, " to ", to, " of ", kv.num_blocks));
  const int64_t bytes = KvPlaneBytes(kv.dtype, 1, kv.heads, kv.head_dim);
  for (void* plane : {kv.k, kv.v}) {
    char* base = static_cast<char*>(plane);
    std::memcpy(base + to * bytes, base + from * bytes, bytes);
  }
}

}  // namespace pamir::kernels
