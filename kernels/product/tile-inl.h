// The register tile: a few rows of x times a few panels of weights, every sum in a register.
// Included once per instruction set.

// clang-format off
#if defined(PAMIR_KERNELS_PRODUCT_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAMIR_KERNELS_PRODUCT_TILE_INL_H_
#undef PAMIR_KERNELS_PRODUCT_TILE_INL_H_
#else
#define PAMIR_KERNELS_PRODUCT_TILE_INL_H_
#endif
// clang-format on

#include <cmath>
#include <utility>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/product/epilogue.h"
#include "kernels/product/parts.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kPanelOutputs>;
using Vec = hn::Vec<Floats>;
inline constexpr int kLanes = static_cast<int>(hn::MaxLanes(Floats()));
inline constexpr int kVecs = static_cast<int>(kPanelOutputs) / kLanes;  // vectors of a panel

// Rows of a full tile, and up to how many rows a tile reads x in place. Both follow from the number
// of registers: 32 with AVX-512 and NEON, 16 with AVX2.
#if HWY_TARGET == HWY_SCALAR
inline constexpr int kTileRows = 2;
inline constexpr int kInPlaceRows = 2;
constexpr int StreamsFor(int) { return 1; }
#elif HWY_TARGET == HWY_AVX3
inline constexpr int kTileRows = 14;
inline constexpr int kInPlaceRows = 6;
constexpr int StreamsFor(int rows) { return rows <= kInPlaceRows ? 4 : 2; }
#else
inline constexpr int kTileRows = 6;
inline constexpr int kInPlaceRows = 2;
constexpr int StreamsFor(int rows) { return rows == 1 ? 4 : (rows == 2 ? 2 : 1); }
#endif

// Panels that a tile meets at once. Four far-apart streams of weights come close to the memory's
// full rate, one does not.
inline constexpr int kMaxStreams = 4;

HWY_INLINE Vec Fma(Vec a, Vec b, Vec c) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(Floats(), std::fma(hn::GetLane(a), hn::GetLane(b), hn::GetLane(c)));
#else
  return hn::MulAdd(a, b, c);
#endif
}

HWY_INLINE Vec LoadWeights(const float* p) { return hn::LoadU(Floats(), p); }
HWY_INLINE Vec LoadWeights(const hwy::float16_t* p) {
  return hn::PromoteTo(Floats(), hn::LoadU(hn::Rebind<hwy::float16_t, Floats>(), p));
}
HWY_INLINE Vec LoadWeights(const hwy::bfloat16_t* p) {
  return hn::PromoteTo(Floats(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, Floats>(), p));
}

template <typename T>
struct TileArgs {
  const float* x = nullptr;  // in place: x[r * x_stride + k]; packed: x[k * rows + r]
  int64_t x_stride = 0;
  int64_t k_count = 0;
  bool accumulate = false;       // go on from c instead of from +0
  const T* w[kMaxStreams] = {};  // a panel each: [k_count][16]
  float* c[kMaxStreams] = {};    // [rows][c_stride], 16 written of each row
  int64_t c_stride[kMaxStreams] = {};
};

// Bytes that the weights are asked for ahead of their use. Asking past the end does no harm.
inline constexpr int kPrefetchBytes = 2048;

template <int kRows>
using Sums = Vec[kRows][StreamsFor(kRows)][kVecs];

// sums += x(:, k) w(k, :)
template <typename T, int kRows>
HWY_INLINE void TileStep(const TileArgs<T>& a, const T* const (&w)[kMaxStreams], int64_t k,
                         Sums<kRows>& sums) {
  constexpr int kStreams = StreamsFor(kRows);
  Vec weights[kStreams][kVecs];
  HWY_UNROLL(4)
  for (int s = 0; s < kStreams; ++s) {
    HWY_UNROLL(16)
    for (int v = 0; v < kVecs; ++v) {
      weights[s][v] = LoadWeights(w[s] + k * kPanelOutputs + v * kLanes);
    }
  }
  HWY_UNROLL(14)
  for (int r = 0; r < kRows; ++r) {
    const float value = kRows > kInPlaceRows ? a.x[k * kRows + r] : a.x[r * a.x_stride + k];
    const Vec x = hn::Set(Floats(), value);
    HWY_UNROLL(4)
    for (int s = 0; s < kStreams; ++s) {
      HWY_UNROLL(16)
      for (int v = 0; v < kVecs; ++v) sums[r][s][v] = Fma(x, weights[s][v], sums[r][s][v]);
    }
  }
}

template <typename T, int kRows>
HWY_INLINE void LoadSums(const TileArgs<T>& a, Sums<kRows>& sums) {
  constexpr int kStreams = StreamsFor(kRows);
  HWY_UNROLL(14)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int s = 0; s < kStreams; ++s) {
      HWY_UNROLL(16)
      for (int v = 0; v < kVecs; ++v) {
        const float* c = a.c[s] + r * a.c_stride[s] + v * kLanes;
        sums[r][s][v] = a.accumulate ? hn::LoadU(Floats(), c) : hn::Zero(Floats());
      }
    }
  }
}

template <typename T, int kRows>
HWY_INLINE void StoreSums(const TileArgs<T>& a, const Sums<kRows>& sums) {
  constexpr int kStreams = StreamsFor(kRows);
  HWY_UNROLL(14)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int s = 0; s < kStreams; ++s) {
      HWY_UNROLL(16)
      for (int v = 0; v < kVecs; ++v) {
        hn::StoreU(sums[r][s][v], Floats(), a.c[s] + r * a.c_stride[s] + v * kLanes);
      }
    }
  }
}

template <typename T, int kRows>
HWY_NOINLINE void Tile(const TileArgs<T>& args) {
  constexpr int kStreams = StreamsFor(kRows);
  const TileArgs<T> a = args;  // a copy, so that stores to c cannot alias it
  const T* w[kMaxStreams] = {a.w[0], a.w[1], a.w[2], a.w[3]};
  Sums<kRows> sums;
  LoadSums<T, kRows>(a, sums);
  int64_t k = 0;
  for (; k + 2 <= a.k_count; k += 2) {
    if constexpr (sizeof(T) == 2) {  // two steps are one cache line of each stream
      HWY_UNROLL(4)
      for (int s = 0; s < kStreams; ++s) {
        hwy::Prefetch(reinterpret_cast<const char*>(w[s] + k * kPanelOutputs) + kPrefetchBytes);
      }
    }
    TileStep<T, kRows>(a, w, k, sums);
    TileStep<T, kRows>(a, w, k + 1, sums);
  }
  if (k < a.k_count) TileStep<T, kRows>(a, w, k, sums);
  StoreSums<T, kRows>(a, sums);
}

template <typename T>
using TileFunction = void (*)(const TileArgs<T>&);

template <typename T, size_t... kI>
TileFunction<T> TileFor(int rows, std::index_sequence<kI...>) {
  static constexpr TileFunction<T> kFunctions[] = {&Tile<T, static_cast<int>(kI) + 1>...};
  return kFunctions[rows - 1];
}

// Bias and activation of `rows` rows of one panel, in place.
HWY_NOINLINE inline void Finish(const ProductArgs& a, int64_t panel, float* y, int64_t rows) {
  const int64_t o = panel * kPanelOutputs;
  const int64_t count = std::min(kPanelOutputs, a.w.out - o);
  const float* bias = a.bias == nullptr ? nullptr : a.bias + o;
  const Floats df;
  const Vec zero = hn::Zero(df);
  for (int64_t r = 0; r < rows; ++r, y += a.y_stride) {
    int64_t i = 0;
    for (; i + kLanes <= count && a.activation != Activation::kGelu; i += kLanes) {
      Vec v = hn::Add(hn::LoadU(df, y + i), zero);
      if (bias != nullptr) v = hn::Add(v, hn::LoadU(df, bias + i));
      if (a.activation == Activation::kRelu) v = hn::IfThenElseZero(hn::Gt(v, zero), v);
      hn::StoreU(v, df, y + i);
    }
    for (; i < count; ++i) {
      y[i] = FinishOutput(y[i], bias == nullptr ? nullptr : bias + i, a.activation);
    }
  }
}

// A few panels of weights, any memory order, for the same inputs k_begin .. k_begin + k_count - 1.
template <typename T>
struct PanelGroup {
  int count = 0;  // 1 .. kMaxStreams
  int64_t panel[kMaxStreams] = {};
  const T* w[kMaxStreams] = {};
  int64_t k_begin = 0;
  int64_t k_count = 0;
};

// The last panel where it has fewer outputs than a vector: its sums live here, not in y.
struct Edge {
  int64_t panel = -1;  // -1: not met
  HWY_ALIGN float sums[kTileRows * kPanelOutputs];
};

// y has w.out % 16 of the edge's outputs.
inline void LoadEdge(const ProductArgs& a, const float* y, int rows, Edge& edge) {
  std::fill_n(edge.sums, kTileRows * kPanelOutputs, 0.0f);
  for (int r = 0; r < rows; ++r) {
    std::copy_n(y + r * a.y_stride + edge.panel * kPanelOutputs, a.w.out % kPanelOutputs,
                edge.sums + r * kPanelOutputs);
  }
}
inline void StoreEdge(const ProductArgs& a, const Edge& edge, int rows, float* y) {
  for (int r = 0; r < rows; ++r) {
    std::copy_n(edge.sums + r * kPanelOutputs, a.w.out % kPanelOutputs,
                y + r * a.y_stride + edge.panel * kPanelOutputs);
  }
}

// Row tile `tile` of the product with panels s0 .. of the group, as many as the tile takes at once.
template <typename T>
void RunStreams(const ProductArgs& a, const float* packed, int64_t tile, const PanelGroup<T>& g,
                int s0) {
  const int64_t row = tile * kTileRows;
  const int rows = static_cast<int>(std::min<int64_t>(kTileRows, a.rows - row));
  const int end = std::min(g.count, s0 + StreamsFor(rows));
  float* y = a.y + row * a.y_stride;
  TileArgs<T> t;
  t.x = rows > kInPlaceRows ? packed + row * a.w.in + g.k_begin * rows
                            : a.x + row * a.x_stride + g.k_begin;
  t.x_stride = a.x_stride;
  t.k_count = g.k_count;
  t.accumulate = g.k_begin > 0;
  Edge edge;
  HWY_ALIGN float unused[kTileRows * kPanelOutputs] = {};  // streams left over repeat a panel
  for (int s = 0; s < StreamsFor(rows); ++s) {
    const bool real = s0 + s < end;
    const int64_t panel = g.panel[real ? s0 + s : s0];
    const bool whole = real && (panel + 1) * kPanelOutputs <= a.w.out;
    t.w[s] = g.w[real ? s0 + s : s0];
    t.c[s] = whole ? y + panel * kPanelOutputs : (real ? edge.sums : unused);
    t.c_stride[s] = whole ? a.y_stride : kPanelOutputs;
    if (real && !whole) edge.panel = panel;
  }
  if (edge.panel >= 0 && t.accumulate) LoadEdge(a, y, rows, edge);
  TileFor<T>(rows, std::make_index_sequence<kTileRows>())(t);
  if (edge.panel >= 0) StoreEdge(a, edge, rows, y);
  if (g.k_begin + g.k_count < a.w.in) return;
  for (int s = s0; s < end; ++s) Finish(a, g.panel[s], y + g.panel[s] * kPanelOutputs, rows);
}

// Row tile `tile` of the product with all panels of the group.
template <typename T>
void RunTile(const ProductArgs& a, const float* packed, int64_t tile, const PanelGroup<T>& g) {
  const int rows = static_cast<int>(std::min<int64_t>(kTileRows, a.rows - tile * kTileRows));
  for (int s = 0; s < g.count; s += StreamsFor(rows)) RunStreams(a, packed, tile, g, s);
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard
