// Neuron-major weights under sparse inputs (fc2 after ReLU): only the weights of non-zero inputs
// are read. A few active neurons at a time (far-apart streams) are added to a stretch of outputs,
// while the weights of the next few are asked for.
#include "kernels/product/product_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/product/neurons.cc"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "kernels/product/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {

inline constexpr int kGroup = 8;  // neurons that are added at once

// Outputs that a thread works on at once: the sums of one row stay in L1, and with many rows the
// weights of a block of inputs in L2.
inline constexpr int64_t kStretchOneRow = 2048;
inline constexpr int64_t kStretch = 512;

void CompactRowHere(const ProductArgs& a, const ActiveLists& lists, int64_t r) {
  const hn::Rebind<int32_t, Floats> di;
  const float* x = a.x + r * a.x_stride;
  int32_t* index = lists.index + r * lists.index_stride;
  int32_t* starts = lists.starts + r * (lists.blocks + 1);
  int64_t n = 0;
  for (int64_t b = 0; b < lists.blocks; ++b) {
    starts[b] = static_cast<int32_t>(n);
    int64_t k = b * lists.block_k;
    const int64_t end = std::min(k + lists.block_k, a.w.in);
    for (; k + kLanes <= end; k += kLanes) {
      // Not(Eq), not Ne: a NaN counts as non-zero.
      const auto active = hn::Not(hn::Eq(hn::LoadU(Floats(), x + k), hn::Zero(Floats())));
      const auto mask = hn::RebindMask(di, active);
      hn::StoreU(hn::Compress(hn::Iota(di, static_cast<int32_t>(k)), mask), di, index + n);
      n += static_cast<int64_t>(hn::CountTrue(di, mask));
    }
    for (; k < end; ++k) {
      index[n] = static_cast<int32_t>(k);
      n += x[k] != 0;
    }
  }
  starts[lists.blocks] = static_cast<int32_t>(n);
}

int64_t CountActiveHere(const ProductArgs& a, int64_t r) {
  const float* x = a.x + r * a.x_stride;
  int64_t zeros = 0;
  int64_t k = 0;
  for (; k + kLanes <= a.w.in; k += kLanes) {
    const auto zero = hn::Eq(hn::LoadU(Floats(), x + k), hn::Zero(Floats()));
    zeros += static_cast<int64_t>(hn::CountTrue(Floats(), zero));
  }
  for (; k < a.w.in; ++k) zeros += x[k] == 0;
  return a.w.in - zeros;
}

template <typename T>
struct Neurons {
  const T* w[kGroup];
};

// sums[0 .. count) += x[0] w.w[0][...] + ... + x[n - 1] w.w[n - 1][...], ascending. count is a
// multiple of 16. The lines of `next` at the same outputs are asked for meanwhile.
template <typename T, int n>
HWY_NOINLINE void AddNeurons(const float* x, const Neurons<T>& w, const Neurons<T>& next,
                             int64_t count, float* HWY_RESTRICT sums) {
  const Floats df;
  Vec factor[n];
  HWY_UNROLL(8)
  for (int g = 0; g < n; ++g) factor[g] = hn::Set(df, x[g]);
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t o = 0; o < count; o += kPanelOutputs) {
    if (o % kLine == 0) {
      for (int g = 0; g < kGroup; ++g) hwy::Prefetch(next.w[g] + o);
    }
    HWY_UNROLL(16)
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = o + v * kLanes;
      Vec sum = hn::LoadU(df, sums + at);
      HWY_UNROLL(8)
      for (int g = 0; g < n; ++g) sum = Fma(factor[g], LoadWeights(w.w[g] + at), sum);
      hn::StoreU(sum, df, sums + at);
    }
  }
}

template <typename T>
void AddSome(int n, const float* x, const Neurons<T>& w, const Neurons<T>& next, int64_t count,
             float* sums) {
  switch (n) {
    case 1:
      return AddNeurons<T, 1>(x, w, next, count, sums);
    case 2:
      return AddNeurons<T, 2>(x, w, next, count, sums);
    case 3:
      return AddNeurons<T, 3>(x, w, next, count, sums);
    case 4:
      return AddNeurons<T, 4>(x, w, next, count, sums);
    case 5:
      return AddNeurons<T, 5>(x, w, next, count, sums);
    case 6:
      return AddNeurons<T, 6>(x, w, next, count, sums);
    case 7:
      return AddNeurons<T, 7>(x, w, next, count, sums);
    case 8:
      return AddNeurons<T, 8>(x, w, next, count, sums);
  }
}

// Where the weights of neurons list[0 .. n) for one stretch lie; the rest repeats the first.
template <typename T>
Neurons<T> Find(const T* w, int64_t row, const int32_t* list, int64_t n) {
  Neurons<T> found;
  for (int g = 0; g < kGroup; ++g) found.w[g] = w + list[g < n ? g : 0] * row;
  return found;
}

// Adds the n neurons of `list` to `count` sums; `after` (n_after) is the list that comes next.
template <typename T>
void AddList(const float* x, const T* w, int64_t row, const int32_t* list, int64_t n,
             const int32_t* after, int64_t n_after, int64_t count, float* sums) {
  if (n == 0) return;
  Neurons<T> now = Find(w, row, list, n);
  for (int64_t i = 0; i < n; i += kGroup) {
    const int64_t here = std::min<int64_t>(kGroup, n - i);
    const int64_t left = n - i - here;
    const Neurons<T> next = left > 0      ? Find(w, row, list + i + here, left)
                            : n_after > 0 ? Find(w, row, after, n_after)
                                          : now;
    float factor[kGroup];
    for (int64_t g = 0; g < here; ++g) factor[g] = x[list[i + g]];
    AddSome(static_cast<int>(here), factor, now, next, count, sums);
    now = next;
  }
}

// The outputs of `panels` for all rows and the inputs of block b.
template <typename T>
void AddBlock(const ProductArgs& a, const ActiveLists& lists, Range panels, int64_t b) {
  const int64_t row = PanelsOf(a.w) * kPanelOutputs;
  const int64_t begin = panels.begin * kPanelOutputs;
  const int64_t whole = std::min(panels.end, a.w.out / kPanelOutputs) - panels.begin;
  const T* w = static_cast<const T*>(a.w.data) + begin;
  for (int64_t r = 0; r < a.rows; ++r) {
    const int32_t* starts = lists.starts + r * (lists.blocks + 1) + b;
    const int32_t* list = lists.index + r * lists.index_stride + starts[0];
    const int64_t n = starts[1] - starts[0];
    const bool more = r + 1 < a.rows;
    const int32_t* after_starts = more ? starts + lists.blocks + 1 : starts;
    const int32_t* after = lists.index + (r + 1) * lists.index_stride + after_starts[0];
    const int64_t n_after = more ? after_starts[1] - after_starts[0] : 0;
    const float* x = a.x + r * a.x_stride;
    float* y = a.y + r * a.y_stride + begin;
    const int64_t count = whole * kPanelOutputs;
    if (whole > 0) AddList(x, w, row, list, n, after, n_after, count, y);
    if (whole == panels.size()) continue;
    HWY_ALIGN float edge[kPanelOutputs] = {};  // the last panel, narrower than a vector
    const int64_t narrow = a.w.out % kPanelOutputs;
    std::copy_n(y + count, narrow, edge);
    AddList(x, w + count, row, list, n, after, n_after, kPanelOutputs, edge);
    std::copy_n(edge, narrow, y + count);
  }
}

template <typename T>
void NeuronsPartOf(const ProductArgs& a, const ActiveLists& lists, Range panels) {
  const int64_t step = (a.rows == 1 ? kStretchOneRow : kStretch) / kPanelOutputs;
  for (int64_t p = panels.begin; p < panels.end; p += step) {
    const Range stretch = {p, std::min(p + step, panels.end)};
    const int64_t begin = stretch.begin * kPanelOutputs;
    const int64_t count = std::min(stretch.end * kPanelOutputs, a.w.out) - begin;
    for (int64_t r = 0; r < a.rows; ++r) std::fill_n(a.y + r * a.y_stride + begin, count, 0.0f);
    for (int64_t b = 0; b < lists.blocks; ++b) AddBlock<T>(a, lists, stretch, b);
    for (int64_t q = stretch.begin; q < stretch.end; ++q) {
      Finish(a, q, a.y + q * kPanelOutputs, a.rows);
    }
  }
}

void NeuronsPartHere(const ProductArgs& a, const ActiveLists& lists, Range panels) {
  switch (a.w.dtype) {
    case DType::kFloat16:
      return NeuronsPartOf<hwy::float16_t>(a, lists, panels);
    case DType::kBFloat16:
      return NeuronsPartOf<hwy::bfloat16_t>(a, lists, panels);
    case DType::kFloat32:
      return NeuronsPartOf<float>(a, lists, panels);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pamir::kernels {
HWY_EXPORT(CompactRowHere);
HWY_EXPORT(CountActiveHere);
HWY_EXPORT(NeuronsPartHere);

void CompactRow(const ProductArgs& args, const ActiveLists& lists, int64_t r) {
  HWY_DYNAMIC_DISPATCH(CompactRowHere)(args, lists, r);
}

int64_t CountActive(const ProductArgs& args, int64_t r) {
  return HWY_DYNAMIC_DISPATCH(CountActiveHere)(args, r);
}

void NeuronsPart(const ProductArgs& args, const ActiveLists& lists, Range panels) {
  HWY_DYNAMIC_DISPATCH(NeuronsPartHere)(args, lists, panels);
}

}  // namespace pamir::kernels
#endif  // HWY_ONCE
