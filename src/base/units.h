#ifndef PAMIR_BASE_UNITS_H_
#define PAMIR_BASE_UNITS_H_

#include <cstdint>
#include <string>

namespace pamir {

inline constexpr int64_t kKiB = 1024;
inline constexpr int64_t kMiB = 1024 * kKiB;
inline constexpr int64_t kGiB = 1024 * kMiB;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// A half-open range of indices: heads, neurons, vocabulary rows, layers.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  constexpr int64_t size() const { return end - begin; }
  constexpr bool contains(int64_t i) const { return begin <= i && i < end; }
  friend constexpr bool operator==(Range, Range) = default;
};

// The part of `whole` that belongs to `index` of `parts`: sizes differ by at most one, larger ones
// first, so that any number of parts up to whole.size() works.
constexpr Range SplitEvenly(Range whole, int64_t parts, int64_t index) {
  const int64_t base = whole.size() / parts, extra = whole.size() % parts;
  const int64_t begin = whole.begin + index * base + (index < extra ? index : extra);
  return {begin, begin + base + (index < extra ? 1 : 0)};
}

// "27.6 MB", "1.3 GB": decimal units, one digit after the point.
std::string HumanBytes(int64_t bytes);

}  // namespace pamir

#endif  // PAMIR_BASE_UNITS_H_
