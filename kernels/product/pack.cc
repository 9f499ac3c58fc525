// Packing weights into the layouts that the products read.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/product/parts.h"
#include "kernels/product/product.h"

namespace pamir::kernels {
namespace {

// Where W[o][k] lies: o's panel or column, then k * step.
struct Place {
  int64_t first;  // index of W[o][0]
  int64_t step;
};

Place PlaceOf(const Matrix& m, int64_t o) {
  if (m.layout == WeightLayout::kNeurons) return {o, PanelsOf(m) * kPanelOutputs};
  return {o / kPanelOutputs * m.in * kPanelOutputs + o % kPanelOutputs, kPanelOutputs};
}

// Columns k .. of a few rows at a time, so that both sides are met in whole cache lines.
constexpr int64_t kStepK = 64;
constexpr int64_t kStepOut = 32;

template <typename CopyOne>
void ForEachBlocked(const Matrix& m, int64_t out_begin, int64_t out_count, CopyOne copy) {
  for (int64_t o0 = 0; o0 < out_count; o0 += kStepOut) {
    const int64_t o1 = std::min(o0 + kStepOut, out_count);
    for (int64_t k0 = 0; k0 < m.in; k0 += kStepK) {
      const int64_t k1 = std::min(k0 + kStepK, m.in);
      for (int64_t o = o0; o < o1; ++o) {
        const Place to = PlaceOf(m, out_begin + o);
        for (int64_t k = k0; k < k1; ++k) copy(to.first + k * to.step, o, k);
      }
    }
  }
}

// Same dtype on both sides: bits are moved as they are. memcpy, since the source is a part of a
// file that may lie at any address.
template <typename Bits>
void MoveBits(const Matrix& m, void* data, int64_t out_begin, int64_t out_count, const void* source,
              int64_t stride) {
  Bits* to = static_cast<Bits*>(data);
  const char* from = static_cast<const char*>(source);
  ForEachBlocked(m, out_begin, out_count, [&](int64_t index, int64_t o, int64_t k) {
    std::memcpy(to + index, from + (o * stride + k) * sizeof(Bits), sizeof(Bits));
  });
}

}  // namespace

int64_t PackedBytes(WeightLayout layout, DType dtype, int64_t out, int64_t in) {
  return CeilDiv(out, kPanelOutputs) * kPanelOutputs * in * static_cast<int64_t>(SizeOf(dtype));
}

void PackRows(const Matrix& matrix, void* data, int64_t out_begin, int64_t out_count,
              const void* source, DType source_dtype, int64_t source_stride) {
  PAMIR_CHECK(out_begin >= 0 && out_count >= 0 && out_begin + out_count <= matrix.out,
              "the packed rows lie outside the matrix");
  PAMIR_CHECK(source_stride >= matrix.in, "a source row is shorter than the matrix's rows");
  if (source_dtype == matrix.dtype && SizeOf(source_dtype) == 2) {
    return MoveBits<uint16_t>(matrix, data, out_begin, out_count, source, source_stride);
  }
  if (source_dtype == matrix.dtype) {
    return MoveBits<uint32_t>(matrix, data, out_begin, out_count, source, source_stride);
  }
  ForEachBlocked(matrix, out_begin, out_count, [&](int64_t index, int64_t o, int64_t k) {
    const float value = LoadAsFloat(source_dtype, source, o * source_stride + k);
    StoreFromFloat(matrix.dtype, data, index, value);
  });
}

}  // namespace pamir::kernels
