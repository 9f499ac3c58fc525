// Paged attention as plain loops over the cache in the layouts that attention_cuda.h and
// attention_float32.cu name. Every token by itself, whoever asks.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/attention/kv_fp8.h"
#include "support/fake_cuda/launch.h"
#include "support/fake_cuda/runtime.h"

namespace pamir::testing {
namespace {

using kernels::AttentionCudaArgs;
using kernels::kKvCudaBlock;
using kernels::kTileQueries;
using kernels::QueryTile;

constexpr float kHalfMax = 65504;
constexpr int64_t kGridMax = 65535;  // tokens of a launch, those of tiles padded to whole ones

// One token's row of the block table, looked up with care.
class Cache {
 public:
  Cache(const AttentionCudaArgs& a, const char* name, int64_t token)
      : a_(a), name_(name), position_(a.positions[token]) {
    PAMIR_CHECK(position_ >= 0 && position_ / kKvCudaBlock < a.max_blocks,
                absl::StrCat(std::string(name), ": position ", position_, " of token ", token,
                             " in a table of ", a.max_blocks, " blocks a row"));
    const int64_t row = a.token_row[token];
    PAMIR_CHECK(row >= 0, absl::StrCat(std::string(name), ": row ", row, " of token ", token));
    table_ = a.block_table + row * a.max_blocks;
    const int64_t blocks = position_ / kKvCudaBlock + 1;
    CheckDeviceRange(name, -1, {"block_table", table_, blocks * 4});
    for (int64_t i = 0; i < blocks; ++i) CheckBlock(table_[i]);
  }

  int64_t position() const { return position_; }

  // Where element d of a head's token lies in a plane that is not in fp8, in elements.
  int64_t Index(int64_t head, int64_t position, int64_t d) const {
    const int64_t block = Block(head, position), at = position % kKvCudaBlock;
    if (a_.type == DType::kFloat32) return (block * kKvCudaBlock + at) * a_.kv.head_dim + d;
    return block * kKvCudaBlock * kernels::PaddedHeadDim(a_.kv.head_dim) + InBlock(position, d);
  }

  // Stores a head's token, padded, and its scale.
  void StoreFp8(void* plane, int64_t head, const std::vector<float>& values) const {
    const uint16_t scale = kernels::KvFp8Scale(values.data(), static_cast<int64_t>(values.size()));
    auto* bytes = const_cast<uint8_t*>(Fp8Block(plane, head, position_));
    for (size_t d = 0; d < values.size(); ++d) {
      bytes[InBlock(position_, static_cast<int64_t>(d))] = kernels::ToKvFp8(values[d], scale);
    }
    std::memcpy(bytes + ScaleOffset(position_), &scale, sizeof scale);
  }

  // A head's token in a plane, as floats.
  const float* Load(const void* plane, int64_t head, int64_t position, std::vector<float>* to,
                    std::vector<float>* storage) const {
    const int64_t dim = a_.kv.head_dim;
    if (a_.type == DType::kFloat32) {
      return static_cast<const float*>(plane) + Index(head, position, 0);
    }
    if (a_.kv.fp8) {
      to->resize(static_cast<size_t>(dim));
      const uint8_t* bytes = Fp8Block(plane, head, position);
      uint16_t scale = 0;
      std::memcpy(&scale, bytes + ScaleOffset(position), sizeof scale);
      for (int64_t d = 0; d < dim; ++d) {
        (*to)[static_cast<size_t>(d)] = kernels::FromKvFp8(bytes[InBlock(position, d)], scale);
      }
      return to->data();
    }
    to->resize(static_cast<size_t>(kernels::PaddedHeadDim(dim)));
    for (int64_t d = 0; d < dim; d += 8) {
      const float* eight =
          AsFloats(a_.type, At(a_.type, plane, Index(head, position, d)), 8, storage);
      std::copy_n(eight, 8, to->data() + d);
    }
    return to->data();
  }

 private:
  int64_t Block(int64_t head, int64_t position) const {
    return table_[position / kKvCudaBlock] * int64_t{a_.kv.heads} + head;
  }
  int64_t InBlock(int64_t position, int64_t d) const {
    const int64_t dim = kernels::PaddedHeadDim(a_.kv.head_dim), at = position % kKvCudaBlock;
    return at / 8 * dim * 8 + d / 8 * 64 + at % 8 * 8 + d % 8;
  }
  const uint8_t* Fp8Block(const void* plane, int64_t head, int64_t position) const {
    const int64_t bytes = kernels::KvCudaPlaneBytes(1, 1, a_.kv.head_dim, a_.type, /*fp8=*/true);
    return static_cast<const uint8_t*>(plane) + Block(head, position) * bytes;
  }
  int64_t ScaleOffset(int64_t position) const {
    return kKvCudaBlock * kernels::PaddedHeadDim(a_.kv.head_dim) +
           position % kKvCudaBlock * kernels::kKvFp8ScaleBytes;
  }

  void CheckBlock(int32_t block) const {
    PAMIR_CHECK(block >= 0, absl::StrCat(std::string(name_), ": block ", block));
    const int64_t bytes =
        kernels::KvCudaPlaneBytes(1, a_.kv.heads, a_.kv.head_dim, a_.type, a_.kv.fp8);
    const int64_t offset = block * bytes;
    CheckDeviceRange(name_, -1, {"kv.k", static_cast<const char*>(a_.kv.k) + offset, bytes});
    CheckDeviceRange(name_, -1, {"kv.v", static_cast<const char*>(a_.kv.v) + offset, bytes});
  }

  const AttentionCudaArgs& a_;
  const char* const name_;
  const int64_t position_;
  const int32_t* table_;
};

// Infinities become the largest finite half.
float Finite(DType type, float v) {
  return type == DType::kFloat16 && std::isinf(v) ? std::copysign(kHalfMax, v) : v;
}

void StoreKv(const AttentionCudaArgs& a, const Cache& cache, int64_t token) {
  const int64_t width = int64_t{a.kv.heads} * a.kv.head_dim;
  const int64_t stored =
      a.type == DType::kFloat32 ? a.kv.head_dim : kernels::PaddedHeadDim(a.kv.head_dim);
  for (int part = 1; part <= 2; ++part) {  // q, k, v
    void* plane = part == 1 ? a.kv.k : a.kv.v;
    for (int64_t head = 0; head < a.kv.heads; ++head) {
      const int64_t from = token * a.qkv_stride + part * width + head * a.kv.head_dim;
      std::vector<float> values(static_cast<size_t>(stored));
      for (int64_t d = 0; d < a.kv.head_dim; ++d) {
        values[static_cast<size_t>(d)] =
            Finite(a.type, LoadAsFloat(a.type, a.qkv, static_cast<size_t>(from + d)));
      }
      if (a.kv.fp8) {
        cache.StoreFp8(plane, head, values);
        continue;
      }
      for (int64_t d = 0; d < stored; ++d) {
        StoreFromFloat(a.type, plane, static_cast<size_t>(cache.Index(head, cache.position(), d)),
                       values[static_cast<size_t>(d)]);
      }
    }
  }
}

// Turns scores into exp(score - max) and returns their sum.
float Softmax(std::vector<float>* scores) {
  const float max = *std::max_element(scores->begin(), scores->end());
  float sum = 0;
  for (float& score : *scores) sum += score = std::exp(score - max);
  return sum;
}

void AttendHead(const AttentionCudaArgs& a, const Cache& cache, int64_t token, int64_t head) {
  const int64_t dim = a.kv.head_dim;
  std::vector<float> query_storage, row, storage, scores, out(static_cast<size_t>(dim));
  const float* query =
      AsFloats(a.type, At(a.type, a.qkv, token * a.qkv_stride + head * dim), dim, &query_storage);
  for (int64_t j = 0; j <= cache.position(); ++j) {
    const float* key = cache.Load(a.kv.k, head, j, &row, &storage);
    float score = 0;
    for (int64_t d = 0; d < dim; ++d) score += query[d] * key[d];
    scores.push_back(score * a.scale);
  }
  const float sum = Softmax(&scores);
  for (int64_t j = 0; j <= cache.position(); ++j) {
    const float* value = cache.Load(a.kv.v, head, j, &row, &storage);
    const float weight = scores[static_cast<size_t>(j)];
    for (int64_t d = 0; d < dim; ++d) out[static_cast<size_t>(d)] += weight * value[d];
  }
  for (int64_t d = 0; d < dim; ++d) {
    StoreFromFloat(a.out_type, a.out, static_cast<size_t>(token * a.out_stride + head * dim + d),
                   out[static_cast<size_t>(d)] / sum);
  }
}

void AttendToken(const AttentionCudaArgs& a, const char* name, int64_t token, int64_t context_max,
                 bool write_kv) {
  const Cache cache(a, name, token);
  PAMIR_CHECK(cache.position() < context_max,
              absl::StrCat(std::string(name), ": position ", cache.position(),
                           " where context_max is ", context_max));
  if (write_kv) StoreKv(a, cache, token);
  for (int64_t head = 0; head < a.kv.heads; ++head) AttendHead(a, cache, token, head);
}

bool Sound(const AttentionCudaArgs& a) {
  const bool types = a.type == DType::kFloat32
                         ? a.out_type == DType::kFloat32
                         : a.type == DType::kFloat16 && a.out_type != DType::kFloat32;
  return types && !(a.kv.fp8 && a.type != DType::kFloat16) && a.kv.head_dim > 0 &&
         a.kv.head_dim <= kernels::kCudaHeadDimMax && a.kv.heads > 0 && a.qkv_stride % 8 == 0;
}

// What tokens first .. first + tokens - 1 touch of the packed inputs.
void TouchTokens(const AttentionCudaArgs& a, int64_t first, int64_t tokens, bool out,
                 Launch* launch) {
  const int64_t width = int64_t{a.kv.heads} * a.kv.head_dim;
  const auto size = static_cast<int64_t>(SizeOf(a.type));
  const auto out_size = static_cast<int64_t>(SizeOf(a.out_type));
  launch->Touches("qkv", At(a.type, a.qkv, first * a.qkv_stride),
                  Span(tokens, a.qkv_stride, 3 * width, size), 16);
  launch->Touches("positions", a.positions + first, tokens * 4);
  launch->Touches("token_row", a.token_row + first, tokens * 4);
  if (!out) return;
  launch->Touches("out", At(a.out_type, a.out, first * a.out_stride),
                  Span(tokens, a.out_stride, width, out_size));
}

// Counters for `room` tokens and what `tokens` of them need, as the real kernels cut it.
int64_t ScratchUsed(int64_t room, int64_t tokens, int64_t context_max, int64_t heads,
                    int64_t head_dim) {
  const auto aligned = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  const int64_t pairs = tokens * heads;
  const int64_t splits = (context_max + kernels::kSplitKeys - 1) / kernels::kSplitKeys;
  return aligned(room * heads * 4) + aligned(pairs * splits * 8) +
         aligned(pairs * splits * kernels::PaddedHeadDim(head_dim) * 4);
}

int64_t ScratchBytes(int64_t tokens, int64_t context_max, int64_t heads, int64_t head_dim) {
  return ScratchUsed(tokens, tokens, context_max, heads, head_dim);
}

void TouchScratch(const AttentionCudaArgs& a, int64_t tokens, int64_t context_max, Launch* launch) {
  launch->Touches("scratch", a.scratch,
                  ScratchUsed(a.scratch_tokens, tokens, context_max, a.kv.heads, a.kv.head_dim),
                  16);
}

// Its counters must be zero before a launch, and are after it.
void CheckScratch(const AttentionCudaArgs& a, const char* name) {
  const auto* counters = static_cast<const uint32_t*>(a.scratch);
  const bool zero = std::all_of(counters, counters + a.scratch_tokens * a.kv.heads,
                                [](uint32_t c) { return c == 0; });
  PAMIR_CHECK(zero, absl::StrCat(std::string(name), ": the scratch was not zeroed"));
}

int WriteKv(const AttentionCudaArgs& a, int64_t tokens, StreamRef stream) {
  if (tokens == 0) return FakeState::Current().Return(0);
  if (!Sound(a) || tokens > kGridMax) return Refuse();
  Launch launch("write_kv", stream);
  TouchTokens(a, 0, tokens, /*out=*/false, &launch);
  return launch.Go([a, tokens] {
    for (int64_t t = 0; t < tokens; ++t) StoreKv(a, Cache(a, "write_kv", t), t);
  });
}

int DecodeAttention(const AttentionCudaArgs& a, int64_t first, int64_t tokens, int64_t context_max,
                    StreamRef stream) {
  if (tokens == 0) return FakeState::Current().Return(0);
  const bool scratch = a.type != DType::kFloat32;
  if (!Sound(a) || tokens > kGridMax || (scratch && tokens > a.scratch_tokens)) return Refuse();
  Launch launch("decode_attention", stream);
  TouchTokens(a, first, tokens, /*out=*/true, &launch);
  if (scratch) TouchScratch(a, tokens, context_max, &launch);
  return launch.Go([=] {
    if (scratch) CheckScratch(a, "decode_attention");
    for (int64_t t = first; t < first + tokens; ++t) {
      AttendToken(a, "decode_attention", t, context_max, a.write_kv);
    }
  });
}

void RunTile(const AttentionCudaArgs& a, const QueryTile& tile, int64_t context_max) {
  PAMIR_CHECK(
      tile.count >= 1 && tile.count <= kTileQueries && tile.token >= 0,
      absl::StrCat("prefill_attention: a tile of ", tile.count, " tokens from ", tile.token));
  const int64_t width = int64_t{a.kv.heads} * a.kv.head_dim;
  CheckDeviceRange(
      "prefill_attention", -1,
      {"qkv", At(a.type, a.qkv, tile.token * a.qkv_stride),
       Span(tile.count, a.qkv_stride, 3 * width, static_cast<int64_t>(SizeOf(a.type)))});
  CheckDeviceRange(
      "prefill_attention", -1,
      {"out", At(a.out_type, a.out, tile.token * a.out_stride),
       Span(tile.count, a.out_stride, width, static_cast<int64_t>(SizeOf(a.out_type)))});
  CheckDeviceRange("prefill_attention", -1,
                   {"positions", a.positions + tile.token, tile.count * 4});
  CheckDeviceRange("prefill_attention", -1,
                   {"token_row", a.token_row + tile.token, tile.count * 4});
  for (int64_t t = tile.token; t < tile.token + tile.count; ++t) {
    PAMIR_CHECK(a.token_row[t] == a.token_row[tile.token] &&
                    a.positions[t] == a.positions[tile.token] + (t - tile.token),
                "prefill_attention: the tokens of a tile do not follow each other in one row");
    AttendToken(a, "prefill_attention", t, context_max, /*write_kv=*/false);
  }
}

int PrefillAttention(const AttentionCudaArgs& a, const QueryTile* tiles, int64_t count,
                     int64_t context_max, StreamRef stream, kernels::PrefillWay) {
  if (count == 0) return FakeState::Current().Return(0);
  const int dim = a.kv.head_dim;
  const bool scratch = a.type != DType::kFloat32 && dim != 64 && dim != 80 && dim != 128;
  const int64_t tokens = count * kTileQueries;
  if (!Sound(a) || tokens > kGridMax || (scratch && tokens > a.scratch_tokens)) return Refuse();
  Launch launch("prefill_attention", stream);
  launch.Touches("tiles", tiles, count * static_cast<int64_t>(sizeof(QueryTile)));
  if (scratch) TouchScratch(a, tokens, context_max, &launch);
  return launch.Go([=] {
    if (scratch) CheckScratch(a, "prefill_attention");
    for (int64_t i = 0; i < count; ++i) RunTile(a, tiles[i], context_max);
  });
}

}  // namespace

void FillAttention(kernels::CudaApi* api) {
  api->attention_scratch_bytes = ScratchBytes;
  api->write_kv = WriteKv;
  api->decode_attention = DecodeAttention;
  api->prefill_attention = PrefillAttention;
}

}  // namespace pamir::testing
