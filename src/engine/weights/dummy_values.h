// The numbers that dummy tensors are made of: a counter hash, and a table from hash bits to values
// of a normal distribution. A value is a function of (key, index) alone.
#ifndef PAMIR_ENGINE_WEIGHTS_DUMMY_VALUES_H_
#define PAMIR_ENGINE_WEIGHTS_DUMMY_VALUES_H_

#include <array>
#include <cstdint>
#include <string>

namespace pamir::weights {

// Quantiles of the normal distribution, as fp16 bits: one of kLevels equally likely values.
inline constexpr int kLevels = 4096;
using NormalTable = std::array<uint16_t, kLevels>;

// x with P(N(0, 1) < x) = p, 0 < p < 1; to 1e-12.
double NormalQuantile(double p);

// Levels of N(0, 1), scaled so that their mean is 0 and their variance 1.
std::array<double, kLevels> StandardNormalLevels();

// mean + deviation * level, rounded to fp16.
NormalTable ScaledTable(const std::array<double, kLevels>& levels, double mean, double deviation);

// The key of a tensor's numbers.
uint64_t DummyKey(uint64_t seed, const std::string& tensor);

// Values begin .. begin + count - 1 of the tensor with this key.
void FillDummy(const NormalTable& table, uint64_t key, int64_t begin, int64_t count, uint16_t* out);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_DUMMY_VALUES_H_
