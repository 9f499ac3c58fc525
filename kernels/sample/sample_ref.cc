// Sampling as sample.h says it, in double: sort everything, cut, walk.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/philox.h"
#include "kernels/sample/sample_args.h"

namespace pamir::kernels {
namespace {

// All ids that can be drawn, likeliest first.
std::vector<int32_t> Candidates(const float* logits, int64_t vocab) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < vocab; ++i) {
    if (logits[i] > -std::numeric_limits<float>::infinity()) ids.push_back(static_cast<int32_t>(i));
  }
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  return ids;
}

int32_t Draw(const float* logits, std::vector<int32_t> ids, const SampleRow& row) {
  const double max = logits[ids[0]];
  const auto weight = [&](int32_t id) { return std::exp((logits[id] - max) / row.temperature); };
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < ids.size()) ids.resize(row.top_k);
  double mass = 0;
  for (const int32_t id : ids) mass += weight(id);
  if (row.top_p < 1) {
    double kept = 0;
    size_t count = 0;
    do {
      kept += weight(ids[count++]);
    } while (count < ids.size() && kept < static_cast<double>(row.top_p) * mass);
    ids.resize(count);
    mass = kept;
  }
  std::sort(ids.begin(), ids.end());
  const double target = PhiloxUniform(row.seed, row.choice, row.position) * mass;
  double sum = 0;
  for (const int32_t id : ids) {
    sum += weight(id);
    if (sum > target) return id;
  }
  return ids.back();
}

float Logprob(const float* logits, int64_t vocab, int32_t token) {
  double max = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < vocab; ++i) max = logits[i] > max ? logits[i] : max;
  double sum = 0;
  for (int64_t i = 0; i < vocab; ++i) sum += std::isnan(logits[i]) ? 0 : std::exp(logits[i] - max);
  return static_cast<float>(logits[token] - max - std::log(sum));
}

}  // namespace

void SampleReference(const SampleArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* logits = args.logits + r * args.stride;
    const std::vector<int32_t> ids = Candidates(logits, args.vocab);
    int32_t token = ids.empty() ? 0 : ids[0];
    if (!ids.empty() && args.params[r].temperature > 0) token = Draw(logits, ids, args.params[r]);
    args.tokens[r] = token;
    args.logprobs[r] = Logprob(logits, args.vocab, token);
  }
}

void TokenLogprobsReference(const LogprobArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    args.logprobs[r] = Logprob(args.logits + r * args.stride, args.vocab, args.tokens[r]);
  }
}

}  // namespace pamir::kernels
