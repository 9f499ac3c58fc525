// Every weight is read once from memory, in four far-apart streams, and meets all rows.
#include "kernels/product/product_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/product/direct.cc"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "kernels/product/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {

int TileRowsHere() { return kTileRows; }

void PackTileHere(const ProductArgs& a, int64_t tile, float* packed) {
  const int64_t row = tile * kTileRows;
  const int64_t rows = std::min<int64_t>(kTileRows, a.rows - row);
  if (rows <= kInPlaceRows) return;
  const float* x = a.x + row * a.x_stride;
  float* to = packed + row * a.w.in;
  constexpr int64_t kStep = 16;  // a cache line of each row at a time
  for (int64_t k0 = 0; k0 < a.w.in; k0 += kStep) {
    const int64_t count = std::min(kStep, a.w.in - k0);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < count; ++k) to[(k0 + k) * rows + r] = x[r * a.x_stride + k0 + k];
    }
  }
}

template <typename T>
void DirectPartOf(const ProductArgs& a, const float* packed, Range panels) {
  const T* w = static_cast<const T*>(a.w.data);
  const int64_t tiles = CeilDiv(a.rows, kTileRows);
  const int64_t stream = CeilDiv(panels.size(), kMaxStreams);  // panels of a stream
  for (int64_t i = 0; i < stream; ++i) {
    PanelGroup<T> group;
    group.k_count = a.w.in;
    for (int64_t p = panels.begin + i; p < panels.end; p += stream) {
      group.panel[group.count] = p;
      group.w[group.count++] = w + p * a.w.in * kPanelOutputs;
    }
    for (int64_t tile = 0; tile < tiles; ++tile) RunTile(a, packed, tile, group);
  }
}

void DirectPartHere(const ProductArgs& a, const float* packed, Range panels) {
  switch (a.w.dtype) {
    case DType::kFloat16:
      return DirectPartOf<hwy::float16_t>(a, packed, panels);
    case DType::kBFloat16:
      return DirectPartOf<hwy::bfloat16_t>(a, packed, panels);
    case DType::kFloat32:
      return DirectPartOf<float>(a, packed, panels);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pamir::kernels {
HWY_EXPORT(TileRowsHere);
HWY_EXPORT(PackTileHere);
HWY_EXPORT(DirectPartHere);

int TileRows() { return HWY_DYNAMIC_DISPATCH(TileRowsHere)(); }

void PackTile(const ProductArgs& args, int64_t tile, float* packed) {
  HWY_DYNAMIC_DISPATCH(PackTileHere)(args, tile, packed);
}

void DirectPart(const ProductArgs& args, const float* packed, Range panels) {
  HWY_DYNAMIC_DISPATCH(DirectPartHere)(args, packed, panels);
}

}  // namespace pamir::kernels
#endif  // HWY_ONCE
