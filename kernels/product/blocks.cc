// Many rows: a block of weights becomes fp32 in cache, then meets every tile of rows. Sums are kept
// in y between blocks of inputs; storing and loading an fp32 sum is exact.
#include "kernels/product/product_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/product/blocks.cc"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "kernels/product/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {

// Inputs that the weights are asked for ahead of their use.
inline constexpr int64_t kAheadPanels = 64;
inline constexpr int64_t kAheadNeurons = 24;

// Panels `panels` (at most kBlockPanels), inputs k_begin .. k_begin + k_count - 1, as
// [panel][k_count][16] fp32.
template <typename T>
void ConvertBlock(const Matrix& w, Range panels, int64_t k_begin, int64_t k_count, float* block) {
  const T* from = static_cast<const T*>(w.data);
  const bool by_panel = w.layout == WeightLayout::kPanels;
  const int64_t row = by_panel ? kPanelOutputs : PanelsOf(w) * kPanelOutputs;
  const int64_t panel = by_panel ? w.in * kPanelOutputs : kPanelOutputs;
  // Neuron-major weights of several panels lie together: all of one input first.
  const int64_t together = by_panel ? 1 : panels.size();
  for (int64_t p0 = 0; p0 < panels.size(); p0 += together) {
    for (int64_t k = 0; k < k_count; ++k) {
      for (int64_t p = p0; p < p0 + together; ++p) {
        const T* source = from + (panels.begin + p) * panel + (k_begin + k) * row;
        hwy::Prefetch(source + (by_panel ? kAheadPanels * kPanelOutputs : kAheadNeurons * row));
        float* to = block + (p * k_count + k) * kPanelOutputs;
        for (int v = 0; v < kPanelOutputs; v += kLanes) {
          hn::StoreU(LoadWeights(source + v), Floats(), to + v);
        }
      }
    }
  }
}

void ConvertBlockOf(const Matrix& w, Range panels, int64_t k_begin, int64_t k_count, float* block) {
  switch (w.dtype) {
    case DType::kFloat16:
      return ConvertBlock<hwy::float16_t>(w, panels, k_begin, k_count, block);
    case DType::kBFloat16:
      return ConvertBlock<hwy::bfloat16_t>(w, panels, k_begin, k_count, block);
    case DType::kFloat32:
      return ConvertBlock<float>(w, panels, k_begin, k_count, block);
  }
}

void BlocksPartHere(const ProductArgs& a, const float* packed, Range panels, Range tiles,
                    float* block) {
  for (int64_t k = 0; k < a.w.in; k += kBlockK) {
    const int64_t k_count = std::min(kBlockK, a.w.in - k);
    for (int64_t p0 = panels.begin; p0 < panels.end; p0 += kBlockPanels) {
      const Range some = {p0, std::min(p0 + kBlockPanels, panels.end)};
      ConvertBlockOf(a.w, some, k, k_count, block);
      for (int64_t p = some.begin; p < some.end; p += kMaxStreams) {
        PanelGroup<float> group;
        group.k_begin = k;
        group.k_count = k_count;
        group.count = static_cast<int>(std::min<int64_t>(kMaxStreams, some.end - p));
        for (int s = 0; s < group.count; ++s) {
          group.panel[s] = p + s;
          group.w[s] = block + (p + s - p0) * k_count * kPanelOutputs;
        }
        for (int64_t t = tiles.begin; t < tiles.end; ++t) RunTile(a, packed, t, group);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pamir::kernels {
HWY_EXPORT(BlocksPartHere);

void BlocksPart(const ProductArgs& args, const float* packed, Range panels, Range tiles,
                float* block) {
  HWY_DYNAMIC_DISPATCH(BlocksPartHere)(args, packed, panels, tiles, block);
}

}  // namespace pamir::kernels
#endif  // HWY_ONCE
