// What ranks sum and send in these tests.
#ifndef PAMIR_TESTS_UNIT_COMM_PARTS_H_
#define PAMIR_TESTS_UNIT_COMM_PARTS_H_

#include <cstdint>
#include <cstring>
#include <vector>

namespace pamir::comm {

// Magnitudes from 1e-3 to 1e4, both signs: sums in another order have other bits.
inline float PartOf(int rank, int64_t i) {
  uint32_t bits =
      static_cast<uint32_t>(i) * 0x9E3779B1u + static_cast<uint32_t>(rank) * 0x85EBCA77u;
  bits = (bits ^ (bits >> 15)) * 0x2C1B3C6Du;
  bits = (bits ^ (bits >> 12)) * 0x297A2D39u;
  const float unit = static_cast<float>(bits >> 8) * 0x1p-24f - 0.5f;
  return unit * ((bits & 1) != 0 ? 1e-3f : 1e4f);
}

inline std::vector<float> PartsOf(int rank, int64_t count) {
  std::vector<float> parts(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) parts[static_cast<size_t>(i)] = PartOf(rank, i);
  return parts;
}

inline std::vector<float> FoldInOrder(const std::vector<int>& ranks, int64_t count) {
  std::vector<float> sum = PartsOf(ranks[0], count);
  for (size_t k = 1; k < ranks.size(); ++k) {
    for (int64_t i = 0; i < count; ++i) sum[static_cast<size_t>(i)] += PartOf(ranks[k], i);
  }
  return sum;
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace pamir::comm

#endif  // PAMIR_TESTS_UNIT_COMM_PARTS_H_
