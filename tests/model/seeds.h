// The seeds of a model test.
#ifndef PAMIR_TESTS_MODEL_SEEDS_H_
#define PAMIR_TESTS_MODEL_SEEDS_H_

#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

namespace pamir::testing {

// 1 .. count, or the one that the environment's PAMIR_SEED names.
inline std::vector<uint64_t> Seeds(uint64_t count) {
  if (const char* only = std::getenv("PAMIR_SEED")) return {std::strtoull(only, nullptr, 10)};
  std::vector<uint64_t> seeds;
  for (uint64_t seed = 1; seed <= count; ++seed) seeds.push_back(seed);
  return seeds;
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // Uniform enough, and the same on every platform: low .. high, both included.
  int32_t Between(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  bool OneIn(int32_t n) { return Between(1, n) == 1; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_MODEL_SEEDS_H_
