#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/embedding/embedding_simd.cc"
#include "kernels/simd/targets.h"
//
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "kernels/embedding/embedding_rows.h"
#include "kernels/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {

// Vectors of stored elements, as many as one vector of floats: loads widen them.
struct HalfSource {
  using Stored = uint16_t;
  static HWY_INLINE Vec Load(const Stored* from) {
    const auto bits = hn::LoadU(hn::Rebind<uint16_t, F>(), from);
    return hn::PromoteTo(F(), hn::BitCast(hn::Rebind<hwy::float16_t, F>(), bits));
  }
  static float LoadOne(const Stored* from) { return HalfToFloat(*from); }
};

struct BFloatSource {
  using Stored = uint16_t;
  static HWY_INLINE Vec Load(const Stored* from) {
    const auto bits = hn::LoadU(hn::Rebind<uint16_t, F>(), from);
    return hn::PromoteTo(F(), hn::BitCast(hn::Rebind<hwy::bfloat16_t, F>(), bits));
  }
  static float LoadOne(const Stored* from) { return BFloat16ToFloat(*from); }
};

struct FloatSource {
  using Stored = float;
  static HWY_INLINE Vec Load(const Stored* from) { return hn::LoadU(F(), from); }
  static float LoadOne(const Stored* from) { return *from; }
};

// A row of a panel is one element in every 16: a vector's worth is picked up, then widened at once.
template <class Source>
void GatherTyped(const Matrix& table, int64_t row, float* out) {
  using Stored = typename Source::Stored;
  const Stored* from = static_cast<const Stored*>(table.data) +
                       row / kPanelOutputs * table.in * kPanelOutputs + row % kPanelOutputs;
  int64_t k = 0;
  for (; k + kLanes <= table.in; k += kLanes) {
    Stored picked[kLanes];
    PAMIR_UNROLL for (int i = 0; i < kLanes; ++i) picked[i] = from[(k + i) * kPanelOutputs];
    hn::StoreU(Source::Load(picked), F(), out + k);
  }
  for (; k < table.in; ++k) out[k] = Source::LoadOne(from + k * kPanelOutputs);
}

template <class Source>
void AddTyped(const void* table, int64_t width, int64_t row, float* x) {
  const auto* from = static_cast<const typename Source::Stored*>(table) + row * width;
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    hn::StoreU(hn::Add(hn::LoadU(F(), x + i), Source::Load(from + i)), F(), x + i);
  }
  for (; i < width; ++i) x[i] += Source::LoadOne(from + i);
}

void GatherRow(const Matrix& table, int64_t row, float* out) {
  switch (table.dtype) {
    case DType::kFloat16:
      return GatherTyped<HalfSource>(table, row, out);
    case DType::kBFloat16:
      return GatherTyped<BFloatSource>(table, row, out);
    case DType::kFloat32:
      return GatherTyped<FloatSource>(table, row, out);
  }
}

void AddRow(const void* table, DType dtype, int64_t width, int64_t row, float* x) {
  switch (dtype) {
    case DType::kFloat16:
      return AddTyped<HalfSource>(table, width, row, x);
    case DType::kBFloat16:
      return AddTyped<BFloatSource>(table, width, row, x);
    case DType::kFloat32:
      return AddTyped<FloatSource>(table, width, row, x);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pamir::kernels {

HWY_EXPORT(GatherRow);
HWY_EXPORT(AddRow);

void GatherRow(const Matrix& table, int64_t row, float* out) {
  HWY_DYNAMIC_DISPATCH(GatherRow)(table, row, out);
}

void AddRow(const void* table, DType dtype, int64_t width, int64_t row, float* x) {
  HWY_DYNAMIC_DISPATCH(AddRow)(table, dtype, width, row, x);
}

}  // namespace pamir::kernels
#endif  // HWY_ONCE
