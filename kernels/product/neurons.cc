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

// Zero where x is zero in all of `rows` rows from x on.
HWY_INLINE hn::Mask<Floats> AllZero(const float* x, int64_t stride, int64_t rows) {
  hn::Mask<Floats> zero = hn::Eq(hn::LoadU(Floats(), x), hn::Zero(Floats()));
  for (int64_t r = 1; r < rows; ++r) {
    zero = hn::And(zero, hn::Eq(hn::LoadU(Floats(), x + r * stride), hn::Zero(Floats())));
  }
  return zero;
}

bool AllZeroAt(const float* x, int64_t stride, int64_t rows) {
  bool zero = true;
  for (int64_t r = 0; r < rows; ++r) zero &= x[r * stride] == 0;
  return zero;
}

void CompactHere(const ProductArgs& a, const ActiveLists& lists, int64_t list) {
  const hn::Rebind<int32_t, Floats> di;
  const float* x = a.x + list * a.x_stride;
  const int64_t rows = lists.shared ? a.rows : 1;
  int32_t* index = lists.index + list * lists.index_stride;
  int32_t* starts = lists.starts + list * (lists.blocks + 1);
  int64_t n = 0;
  for (int64_t b = 0; b < lists.blocks; ++b) {
    starts[b] = static_cast<int32_t>(n);
    int64_t k = b * lists.block_k;
    const int64_t end = std::min(k + lists.block_k, a.w.in);
    for (; k + kLanes <= end; k += kLanes) {
      // Not(Eq), not Ne: a NaN counts as non-zero.
      const auto mask = hn::RebindMask(di, hn::Not(AllZero(x + k, a.x_stride, rows)));
      hn::StoreU(hn::Compress(hn::Iota(di, static_cast<int32_t>(k)), mask), di, index + n);
      n += static_cast<int64_t>(hn::CountTrue(di, mask));
    }
    for (; k < end; ++k) {
      index[n] = static_cast<int32_t>(k);
      n += !AllZeroAt(x + k, a.x_stride, rows);
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

// A few active neurons, ascending, and the first of the rows that they are added to.
struct Group {
  int64_t row = 0;
  int64_t n = 0;  // 0: there are no more
  const int32_t* list = nullptr;
};

// Walks the groups of one block of inputs, list after list.
class Groups {
 public:
  Groups(const ActiveLists& lists, int64_t block) : lists_(lists), block_(block) { OpenList(); }

  Group Next() {
    while (at_ == end_ && list_ + 1 < lists_.count) {
      ++list_;
      OpenList();
    }
    const Group group = {list_, std::min<int64_t>(kGroup, end_ - at_), at_};
    at_ += group.n;
    return group;
  }

 private:
  void OpenList() {
    const int32_t* starts = lists_.starts + list_ * (lists_.blocks + 1) + block_;
    const int32_t* list = lists_.index + list_ * lists_.index_stride;
    at_ = list + starts[0];
    end_ = list + starts[1];
  }

  const ActiveLists& lists_;
  const int64_t block_;
  int64_t list_ = 0;
  const int32_t* at_ = nullptr;
  const int32_t* end_ = nullptr;
};

// What stays the same while a stretch of outputs is worked on.
template <typename T>
struct Stretch {
  const float* x = nullptr;  // the product's
  int64_t x_stride = 0;
  const T* w = nullptr;  // of input 0, at the first output
  int64_t w_stride = 0;  // from input to input
  int64_t count = 0;     // outputs, a multiple of 16
};

// Asks for one cache line of each of the neurons' weights. Into L2 only: neurons are often 4 kB
// apart, so that more than a few of their lines push each other out of L1.
template <typename T>
HWY_INLINE void AskFor(const T* const* lines, int64_t o) {
  HWY_UNROLL(8)
  for (int g = 0; g < kGroup; ++g) __builtin_prefetch(lines[g] + o, 0, 2);
}

template <typename T>
HWY_INLINE void FindLines(const Stretch<T>& s, const Group& group, const T** lines) {
  for (int g = 0; g < kGroup; ++g) {
    lines[g] = s.w + static_cast<int64_t>(group.list[g < group.n ? g : 0]) * s.w_stride;
  }
}

// sums[o] += x[0] w[0][o] + ... + x[n - 1] w[n - 1][o], ascending, for one row.
template <typename T, int n>
HWY_NOINLINE void AddSome(const Stretch<T>& s, const Group& group, const Group& ahead,
                          float* HWY_RESTRICT sums) {
  const Floats df;
  const T* w[kGroup];
  const T* lines[kGroup];
  FindLines(s, group, w);
  if (ahead.n > 0) FindLines(s, ahead, lines);
  const float* x = s.x + group.row * s.x_stride;
  Vec factor[n];
  HWY_UNROLL(8)
  for (int g = 0; g < n; ++g) factor[g] = hn::Set(df, x[group.list[g]]);
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t o = 0; o < s.count; o += kPanelOutputs) {
    if (ahead.n > 0 && o % kLine == 0) AskFor(lines, o);
    HWY_UNROLL(16)
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = o + v * kLanes;
      Vec sum = hn::LoadU(df, sums + at);
      HWY_UNROLL(8)
      for (int g = 0; g < n; ++g) sum = Fma(factor[g], LoadWeights(w[g] + at), sum);
      hn::StoreU(sum, df, sums + at);
    }
  }
}

template <typename T, size_t... kI>
void AddToRowBySize(const Stretch<T>& s, const Group& group, const Group& ahead, float* sums,
                    std::index_sequence<kI...>) {
  using Function = void (*)(const Stretch<T>&, const Group&, const Group&, float*);
  static constexpr Function kFunctions[] = {&AddSome<T, static_cast<int>(kI) + 1>...};
  kFunctions[group.n - 1](s, group, ahead, sums);
}

template <typename T>
void AddToRow(const Stretch<T>& s, const Group& group, const Group& ahead, float* sums) {
  AddToRowBySize(s, group, ahead, sums, std::make_index_sequence<kGroup>());
}

// The same for a few rows at once: each weight is loaded and converted once for all of them. A
// group of fewer than kGroup is filled up with zeros.
template <typename T>
HWY_NOINLINE void AddToRows(const Stretch<T>& s, const Group& group, const Group& ahead,
                            int64_t rows, float* HWY_RESTRICT sums, int64_t sums_stride) {
  const Floats df;
  const T* w[kGroup];
  const T* lines[kGroup];
  FindLines(s, group, w);
  if (ahead.n > 0) FindLines(s, ahead, lines);
  float factors[kSharedRows][kGroup] = {};
  for (int64_t r = 0; r < rows; ++r) {
    for (int g = 0; g < group.n; ++g) factors[r][g] = s.x[r * s.x_stride + group.list[g]];
  }
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t o = 0; o < s.count; o += kPanelOutputs) {
    if (ahead.n > 0 && o % kLine == 0) AskFor(lines, o);
    HWY_UNROLL(16)
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = o + v * kLanes;
      Vec weights[kGroup];
      HWY_UNROLL(8)
      for (int g = 0; g < kGroup; ++g) weights[g] = LoadWeights(w[g] + at);
      for (int64_t r = 0; r < rows; ++r) {
        Vec sum = hn::LoadU(df, sums + r * sums_stride + at);
        HWY_UNROLL(8)
        for (int g = 0; g < kGroup; ++g) sum = Fma(hn::Set(df, factors[r][g]), weights[g], sum);
        hn::StoreU(sum, df, sums + r * sums_stride + at);
      }
    }
  }
}

// A few rows, one list. The sums lie in `sums` as [rows][stretch + kSumsGap], not in y, whose rows
// are often a power of two apart: a load would then wait for the store to the row before.
template <typename T>
void SharedPartOf(const ProductArgs& a, const ActiveLists& lists, Range panels, float* sums) {
  const int64_t step = lists.stretch / kPanelOutputs;
  const int64_t sums_stride = lists.stretch + kSumsGap;
  for (int64_t p = panels.begin; p < panels.end; p += step) {
    const int64_t end = std::min(p + step, panels.end);
    const int64_t begin = p * kPanelOutputs;
    const int64_t exist = std::min(end * kPanelOutputs, a.w.out) - begin;
    const Stretch<T> s = {a.x, a.x_stride, static_cast<const T*>(a.w.data) + begin,
                          PanelsOf(a.w) * kPanelOutputs, (end - p) * kPanelOutputs};
    for (int64_t r = 0; r < a.rows; ++r) std::fill_n(sums + r * sums_stride, s.count, 0.0f);
    Groups groups(lists, 0);
    Group now = groups.Next(), next = groups.Next();
    while (now.n > 0) {
      // Memory answers later than one group takes: ask for the one after the next.
      const Group ahead = next.n > 0 ? groups.Next() : Group();
      if (a.rows == 1) {
        AddToRow<T>(s, now, ahead, sums);
      } else {
        AddToRows<T>(s, now, ahead, a.rows, sums, sums_stride);
      }
      now = next;
      next = ahead;
    }
    for (int64_t r = 0; r < a.rows; ++r) {
      std::copy_n(sums + r * sums_stride, exist, a.y + r * a.y_stride + begin);
    }
    for (int64_t q = p; q < end; ++q) Finish(a, q, a.y + q * kPanelOutputs, a.rows);
  }
}

// Adds block `block` to outputs begin .. begin + count - 1 of all rows, in y. With `narrow`, these
// are the last panel, of which only `narrow` outputs exist.
template <typename T>
void AddBlock(const ProductArgs& a, const ActiveLists& lists, int64_t begin, int64_t count,
              int64_t narrow, int64_t block) {
  const Stretch<T> s = {a.x, a.x_stride, static_cast<const T*>(a.w.data) + begin,
                        PanelsOf(a.w) * kPanelOutputs, narrow > 0 ? kPanelOutputs : count};
  Groups groups(lists, block);
  Group now = groups.Next(), next = groups.Next();
  HWY_ALIGN float edge[kPanelOutputs] = {};
  while (now.n > 0) {
    const Group ahead = next.n > 0 ? groups.Next() : Group();
    float* y = a.y + now.row * a.y_stride + begin;
    if (narrow == 0) {
      AddToRow<T>(s, now, ahead, y);
    } else {
      std::copy_n(y, narrow, edge);
      AddToRow<T>(s, now, ahead, edge);
      std::copy_n(edge, narrow, y);
    }
    now = next;
    next = ahead;
  }
}

// Many rows, a list each. The sums stay in y from block to block.
template <typename T>
void EachPartOf(const ProductArgs& a, const ActiveLists& lists, Range panels) {
  const int64_t step = lists.stretch / kPanelOutputs;
  const int64_t whole_end = std::min(panels.end, a.w.out / kPanelOutputs);
  for (int64_t p = panels.begin; p < panels.end;) {
    const bool whole = p < whole_end;
    const int64_t end = whole ? std::min(p + step, whole_end) : panels.end;
    const int64_t begin = p * kPanelOutputs;
    const int64_t narrow = whole ? 0 : a.w.out % kPanelOutputs;
    const int64_t count = whole ? (end - p) * kPanelOutputs : narrow;
    for (int64_t r = 0; r < a.rows; ++r) std::fill_n(a.y + r * a.y_stride + begin, count, 0.0f);
    for (int64_t b = 0; b < lists.blocks; ++b) AddBlock<T>(a, lists, begin, count, narrow, b);
    for (int64_t q = p; q < end; ++q) Finish(a, q, a.y + q * kPanelOutputs, a.rows);
    p = end;
  }
}

template <typename T>
void NeuronsPartOf(const ProductArgs& a, const ActiveLists& lists, Range panels, float* sums) {
  if (lists.shared) return SharedPartOf<T>(a, lists, panels, sums);
  EachPartOf<T>(a, lists, panels);
}

void NeuronsPartHere(const ProductArgs& a, const ActiveLists& lists, Range panels, float* sums) {
  switch (a.w.dtype) {
    case DType::kFloat16:
      return NeuronsPartOf<hwy::float16_t>(a, lists, panels, sums);
    case DType::kBFloat16:
      return NeuronsPartOf<hwy::bfloat16_t>(a, lists, panels, sums);
    case DType::kFloat32:
      return NeuronsPartOf<float>(a, lists, panels, sums);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pamir::kernels {
HWY_EXPORT(CompactHere);
HWY_EXPORT(CountActiveHere);
HWY_EXPORT(NeuronsPartHere);

void Compact(const ProductArgs& args, const ActiveLists& lists, int64_t list) {
  HWY_DYNAMIC_DISPATCH(CompactHere)(args, lists, list);
}

int64_t CountActive(const ProductArgs& args, int64_t r) {
  return HWY_DYNAMIC_DISPATCH(CountActiveHere)(args, r);
}

void NeuronsPart(const ProductArgs& args, const ActiveLists& lists, Range panels, float* sums) {
  HWY_DYNAMIC_DISPATCH(NeuronsPartHere)(args, lists, panels, sums);
}

}  // namespace pamir::kernels
#endif  // HWY_ONCE
