#include "kernels/sample/sample_cut.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/units.h"

namespace pamir::kernels {
namespace {

// Candidates that top-p looks at before it counts all.
constexpr int64_t kShortList = 256;

// Bins over max - logit. The bin never falls as the logit falls, whatever the rounding: subtraction
// and multiplication by a positive constant are monotone. Finest where all logits lie close
// together, never coarser than 1/16, so that one far outlier cannot put the rest into one bin.
class Binning {
 public:
  Binning(const float* logits, int64_t n, float max) : max_(max) {
    float min = max;
    for (int64_t i = 0; i < n; ++i) min = logits[i] < min ? logits[i] : min;
    scale_ = std::clamp((kCutBins - 1) / (max - min), 16.0f, 1e6f);
    if (!(max > min)) scale_ = 16.0f;
  }

  // -1 for what takes no part: -inf and NaN.
  int Bin(float logit) const {
    if (!(logit > -std::numeric_limits<float>::infinity())) return -1;
    const float place = (max_ - logit) * scale_;
    return place < kCutBins - 1 ? static_cast<int>(place) : kCutBins - 1;
  }

 private:
  float max_;
  float scale_;
};

void SortByLikelihood(const float* logits, int32_t* ids, int64_t count) {
  std::sort(ids, ids + count, [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
}

// Puts the likeliest ids, at least `wanted` of them, likeliest first, into scratch.members and
// returns how many. 0 where a short list cannot promise that many.
int64_t ShortList(const float* logits, int64_t n, int64_t wanted, const CutScratch& scratch) {
  const int64_t chunk = RoundUp(CeilDiv(n, kCutBins), 16), chunks = CeilDiv(n, chunk);
  if (wanted > chunks / 2) return 0;
  ChunkMaxima(logits, n, chunk, scratch.maxima);
  float* const nth = scratch.maxima + wanted - 1;
  std::nth_element(scratch.maxima, nth, scratch.maxima + chunks, std::greater<float>());
  if (!(*nth > -std::numeric_limits<float>::infinity())) return 0;
  const int64_t count = Collect(logits, n, *nth, scratch.members);
  SortByLikelihood(logits, scratch.members, count);
  return count;
}

// Finds the cut where the sum of amount(id), likeliest first, reaches target(sum of all).
template <typename Amount, typename Target>
Cut FindCut(const float* logits, int64_t n, float max, const CutScratch& scratch,
            const Amount& amount, const Target& target) {
  const Binning binning(logits, n, max);
  std::fill_n(scratch.bins, kCutBins, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    const int bin = binning.Bin(logits[i]);
    if (bin >= 0) scratch.bins[bin] += amount(i);
  }
  double total = 0;
  for (int bin = 0; bin < kCutBins; ++bin) total += scratch.bins[bin];
  const double wanted = std::min<double>(target(total), total);

  double sum = 0;  // of the bins before the crossing one
  int crossing = 0;
  while (crossing < kCutBins - 1 && sum + scratch.bins[crossing] < wanted) {
    sum += scratch.bins[crossing++];
  }
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (binning.Bin(logits[i]) == crossing) scratch.members[count++] = static_cast<int32_t>(i);
  }
  SortByLikelihood(logits, scratch.members, count);
  int64_t last = 0;
  for (; last + 1 < count; ++last) {
    sum += amount(scratch.members[last]);
    if (sum >= wanted) break;
  }
  const int32_t id = scratch.members[last];
  return {logits[id], id};
}

}  // namespace

Cut CutByCount(const float* logits, int64_t n, float max, int64_t k, const CutScratch& scratch) {
  if (ShortList(logits, n, k, scratch) > 0) {
    const int32_t id = scratch.members[k - 1];
    return {logits[id], id};
  }
  return FindCut(
      logits, n, max, scratch, [](int64_t) { return 1.0; },
      [k](double) { return static_cast<double>(k); });
}

Cut CutByMass(const float* logits, const float* weights, int64_t n, float max, float top_p,
              const CutScratch& scratch) {
  double total = 0;
  for (int64_t i = 0; i < n; i += kSampleChunk) {
    total += SumChunk(weights + i, std::min(kSampleChunk, n - i));
  }
  const double wanted = top_p * total;
  const int64_t listed = ShortList(logits, n, kShortList, scratch);
  double sum = 0;
  for (int64_t i = 0; i < listed; ++i) {
    const int32_t id = scratch.members[i];
    sum += weights[id];
    if (sum >= wanted) return {logits[id], id};
  }
  return FindCut(
      logits, n, max, scratch, [weights](int64_t i) { return static_cast<double>(weights[i]); },
      [top_p](double sum_of_all) { return static_cast<double>(top_p) * sum_of_all; });
}

}  // namespace pamir::kernels
