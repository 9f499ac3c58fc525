#include "engine/weights/dummy_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/dtype.h"

namespace pamir::weights {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;
constexpr int kValuesAHash = 4;  // 16 bits each, of which the upper 12 choose the level

// The output function of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
// generators", OOPSLA 2014.
constexpr uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Four values, the first in the lowest 16 bits.
inline uint64_t Four(const NormalTable& table, uint64_t key, int64_t group) {
  const uint64_t h = Mix(key + static_cast<uint64_t>(group) * kGolden);
  return uint64_t{table[(h >> 4) & 0xFFF]} | uint64_t{table[(h >> 20) & 0xFFF]} << 16 |
         uint64_t{table[(h >> 36) & 0xFFF]} << 32 | uint64_t{table[h >> 52]} << 48;
}

void StoreSome(uint64_t four, int64_t skip, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<uint16_t>(four >> (16 * (skip + i)));
  }
}

}  // namespace

double NormalQuantile(double p) {
  double low = -40, high = 40;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle * M_SQRT1_2) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::array<double, kLevels> StandardNormalLevels() {
  std::array<double, kLevels> levels;
  double squares = 0;
  for (int i = 0; i < kLevels / 2; ++i) {
    levels[i] = NormalQuantile((i + 0.5) / kLevels);
    levels[kLevels - 1 - i] = -levels[i];
    squares += 2 * levels[i] * levels[i];
  }
  const double scale = std::sqrt(kLevels / squares);  // cut tails: a little below 1 otherwise
  for (double& level : levels) level *= scale;
  return levels;
}

NormalTable ScaledTable(const std::array<double, kLevels>& levels, double mean, double deviation) {
  NormalTable table;
  for (int i = 0; i < kLevels; ++i) {
    table[i] = FloatToHalf(static_cast<float>(mean + deviation * levels[i]));
  }
  return table;
}

uint64_t DummyKey(uint64_t seed, const std::string& tensor) {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
  for (const unsigned char c : tensor) hash = (hash ^ c) * 0x100000001B3u;
  return Mix(hash ^ Mix(seed + kGolden));
}

void FillDummy(const NormalTable& table, uint64_t key, int64_t begin, int64_t count,
               uint16_t* out) {
  int64_t group = begin / kValuesAHash;
  if (const int64_t skip = begin % kValuesAHash; skip != 0) {
    const int64_t head = std::min(count, kValuesAHash - skip);
    StoreSome(Four(table, key, group++), skip, head, out);
    out += head;
    count -= head;
  }
  for (; count >= kValuesAHash; count -= kValuesAHash, out += kValuesAHash) {
    const uint64_t four = Four(table, key, group++);
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(out, &four, sizeof four);
    } else {
      StoreSome(four, 0, kValuesAHash, out);
    }
  }
  if (count > 0) StoreSome(Four(table, key, group), 0, count, out);
}

}  // namespace pamir::weights
