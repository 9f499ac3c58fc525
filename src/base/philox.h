// Philox4x32-10, a counter-based random number generator: the n-th number is a function of
// (key, counter) alone, so a sample does not depend on what was drawn before it.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#ifndef PAMIR_BASE_PHILOX_H_
#define PAMIR_BASE_PHILOX_H_

#include <array>
#include <cstdint>

namespace pamir {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

constexpr PhiloxCounter Philox4x32(PhiloxCounter c, PhiloxKey k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

// A uniform number in [0, 1) with 24 random bits, from the word that (seed, stream, index) names.
constexpr float PhiloxUniform(uint64_t seed, uint32_t stream, uint64_t index) {
  const PhiloxCounter c =
      Philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), stream, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<float>(c[0] >> 8) * 0x1p-24f;
}

}  // namespace pamir

#endif  // PAMIR_BASE_PHILOX_H_
