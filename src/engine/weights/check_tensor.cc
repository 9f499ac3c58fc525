#include "engine/weights/check_tensor.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace pamir::weights {
namespace {

// The smallest magnitude, as bits of `from`, that becomes infinite as `to`; NaN lies above it.
uint32_t FirstBadMagnitude(DType from, DType to) {
  switch (from) {
    case DType::kFloat16:
      return 0x7C00;  // infinity; every finite fp16 value fits the others
    case DType::kBFloat16:
      return to == DType::kFloat16 ? 0x4780 : 0x7F80;  // 65536; infinity
    case DType::kFloat32:
      if (to == DType::kFloat16) return 0x477FF000;   // 65520 rounds to 65536
      if (to == DType::kBFloat16) return 0x7F7F8000;  // rounds to 2^128
      return 0x7F800000;
  }
  return 0;
}

// Whether all of `count` magnitudes are below `bad`. A difference has its top bit set where that is
// so; no branch in the loop, so that the compiler makes vectors of it.
template <typename Bits>
inline bool AllBelow(const Bits* data, int64_t count, Bits bad) {
  constexpr Bits kTopBit = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  Bits all = kTopBit;
  for (int64_t i = 0; i < count; ++i) {
    all &= static_cast<Bits>((data[i] & static_cast<Bits>(~kTopBit)) - bad);
  }
  return all != 0;
}

template <typename Bits>
int64_t FirstAtLeast(const Bits* data, int64_t count, Bits bad) {
  constexpr int64_t kBlock = 1024;  // fixed, so that whole blocks need no remainder loop
  int64_t i = 0;
  while (i + kBlock <= count && AllBelow(data + i, kBlock, bad)) i += kBlock;
  for (; i < count; ++i) {
    if (!AllBelow(data + i, 1, bad)) return i;
  }
  return -1;
}

}  // namespace

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<TensorInfo> FindChecked(const TensorSource& source,
                                       const spec::TensorSpec& expected) {
  PAMIR_ASSIGN_OR_RETURN(TensorInfo found, source.Find(expected.name));
  if (found.shape == expected.shape) return found;
  return absl::InvalidArgumentError(
      absl::StrCat("tensor \"", expected.name, "\" is ", ShapeText(found.shape),
                   "; by config.json it must be ", ShapeText(expected.shape)));
}

int64_t FirstNotFinite(DType from, DType to, const void* data, int64_t count) {
  const uint32_t bad = FirstBadMagnitude(from, to);
  if (from == DType::kFloat32) {
    return FirstAtLeast(static_cast<const uint32_t*>(data), count, bad);
  }
  return FirstAtLeast(static_cast<const uint16_t*>(data), count, static_cast<uint16_t>(bad));
}

absl::Status CheckFinite(const std::string& tensor, DType from, DType to, const void* data,
                         int64_t rows, int64_t columns, int64_t first_row, int64_t first_column) {
  const int64_t index = FirstNotFinite(from, to, data, rows * columns);
  if (index < 0) return absl::OkStatus();
  const std::string place =
      absl::StrCat("tensor \"", tensor, "\" at [", first_row + index / columns, ", ",
                   first_column + index % columns, "]: ");
  const float value = LoadAsFloat(from, data, index);
  if (std::isfinite(value)) {
    return absl::InvalidArgumentError(absl::StrCat(place, value, " is too large for ", Name(to),
                                                   "; load the model as float32 or bfloat16"));
  }
  return absl::InvalidArgumentError(absl::StrCat(place, std::isnan(value) ? "NaN" : "an infinity",
                                                 "; weights must be finite, so the file is "
                                                 "damaged or was made wrongly"));
}

}  // namespace pamir::weights
