// Element types of weights and caches, and scalar conversions (round to nearest even).
#ifndef PAMIR_BASE_DTYPE_H_
#define PAMIR_BASE_DTYPE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace pamir {

enum class DType : uint8_t { kFloat16, kBFloat16, kFloat32 };

constexpr size_t SizeOf(DType t) { return t == DType::kFloat32 ? 4 : 2; }

// "float16", "bfloat16", "float32", as the command line and config.json spell them.
const char* Name(DType t);
std::optional<DType> DTypeFromName(const std::string& name);

// Bit patterns of IEEE binary16 and of bfloat16.
float HalfToFloat(uint16_t bits);
uint16_t FloatToHalf(float value);
float BFloat16ToFloat(uint16_t bits);
uint16_t FloatToBFloat16(float value);

// Bit patterns of e4m3: 4 bits of exponent, 3 of mantissa, no infinities. What is above the largest
// finite value becomes that one; NaN stays.
inline constexpr float kFloat8Max = 448;
float Float8ToFloat(uint8_t bits);
uint8_t FloatToFloat8(float value);

// Element `index` of an array of `t`, as float, and back.
float LoadAsFloat(DType t, const void* data, size_t index);
void StoreFromFloat(DType t, void* data, size_t index, float value);

}  // namespace pamir

#endif  // PAMIR_BASE_DTYPE_H_
