#include <cmath>

#include "kernels/norm/norm_row.h"

namespace pamir::kernels {
namespace {

// Adds up 64 partials in the order that norm_row.h names.
float AddPartials(const float partials[kNormPartials]) {
  float lanes[kSumLanes];
  for (int i = 0; i < kSumLanes; ++i) {
    lanes[i] = (partials[i] + partials[16 + i]) + (partials[32 + i] + partials[48 + i]);
  }
  return SumLanes(lanes);
}

float Mean(const float* x, int64_t width) {
  float partials[kNormPartials] = {};
  for (int64_t i = 0; i < width; ++i) partials[i % kNormPartials] += x[i];
  return AddPartials(partials) / static_cast<float>(width);
}

float Variance(const float* x, int64_t width, float mean) {
  float partials[kNormPartials] = {};
  for (int64_t i = 0; i < width; ++i) {
    float& partial = partials[i % kNormPartials];
    partial = std::fma(x[i] - mean, x[i] - mean, partial);
  }
  return AddPartials(partials) / static_cast<float>(width);
}

}  // namespace

void AddNormReference(const NormArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    float* x = args.x + row * args.width;
    if (args.delta != nullptr) {
      const float* delta = args.delta + row * args.width;
      for (int64_t i = 0; i < args.width; ++i) {
        x[i] += args.bias != nullptr ? delta[i] + args.bias[i] : delta[i];
      }
    }
    if (!args.normalize) continue;
    const float mean = Mean(x, args.width);
    const float inverse = 1 / std::sqrt(Variance(x, args.width, mean) + args.epsilon);
    float* y = args.y + row * args.width;
    for (int64_t i = 0; i < args.width; ++i) {
      const float gamma = args.gamma != nullptr ? args.gamma[i] : 1;
      const float beta = args.beta != nullptr ? args.beta[i] : 0;
      y[i] = std::fma((x[i] - mean) * inverse, gamma, beta);
    }
  }
}

}  // namespace pamir::kernels
