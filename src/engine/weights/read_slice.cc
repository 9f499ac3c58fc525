#include "engine/weights/read_slice.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::weights {
namespace {

// Where less than this lies between the wanted segments of two rows, reading it along is cheaper
// than another system call.
constexpr int64_t kReadThroughBytes = 16 * kKiB;
constexpr int64_t kSpanBufferBytes = kMiB;

struct Matrix2d {
  int64_t rows = 1, columns = 1;
};

// A vector is a matrix of one column.
absl::StatusOr<Matrix2d> AsMatrix(const std::vector<int64_t>& shape) {
  if (shape.size() == 1) return Matrix2d{shape[0], 1};
  if (shape.size() == 2) return Matrix2d{shape[0], shape[1]};
  return absl::InvalidArgumentError(
      absl::StrCat("it has ", shape.size(), " dimensions; only 1 or 2 can be read"));
}

// Equal pieces at equal distances in a file.
struct Segments {
  int64_t begin = 0, bytes = 0, stride = 0, count = 0;
};

absl::Status ReadEach(const File& file, const Segments& s, char* out) {
  for (int64_t i = 0; i < s.count; ++i) {
    PAMIR_RETURN_IF_ERROR(file.ReadAt(s.begin + i * s.stride, s.bytes, out + i * s.bytes));
  }
  return absl::OkStatus();
}

// Reads what lies between along, a buffer at a time.
absl::Status ReadThrough(const File& file, const Segments& s, char* out) {
  const int64_t at_once = std::min(s.count, kSpanBufferBytes / s.stride);
  const auto buffer = std::make_unique_for_overwrite<char[]>(at_once * s.stride);
  for (int64_t first = 0; first < s.count; first += at_once) {
    const int64_t count = std::min(at_once, s.count - first);
    const int64_t span = (count - 1) * s.stride + s.bytes;
    PAMIR_RETURN_IF_ERROR(file.ReadAt(s.begin + first * s.stride, span, buffer.get()));
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(out + (first + i) * s.bytes, buffer.get() + i * s.stride, s.bytes);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadSlice(const File& file, const StoredTensor& tensor, Range rows, Range columns,
                       void* out) {
  PAMIR_ASSIGN_OR_RETURN(const Matrix2d shape, AsMatrix(tensor.info.shape));
  if (rows.begin < 0 || rows.size() < 0 || rows.end > shape.rows || columns.begin < 0 ||
      columns.size() < 0 || columns.end > shape.columns) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows ", rows.begin, "..", rows.end, " and columns ", columns.begin, "..",
                     columns.end, " are not within [", shape.rows, ", ", shape.columns, "]"));
  }
  if (rows.size() == 0 || columns.size() == 0) return absl::OkStatus();
  Segments segments;
  const int64_t element = SizeOf(tensor.info.dtype);
  segments.count = rows.size();
  segments.bytes = columns.size() * element;
  segments.stride = shape.columns * element;
  segments.begin = tensor.begin + rows.begin * segments.stride + columns.begin * element;
  char* const to = static_cast<char*>(out);
  if (segments.bytes == segments.stride) {
    return file.ReadAt(segments.begin, segments.count * segments.bytes, to);
  }
  const bool far_apart = segments.stride - segments.bytes > kReadThroughBytes;
  return far_apart || segments.stride > kSpanBufferBytes ? ReadEach(file, segments, to)
                                                         : ReadThrough(file, segments, to);
}

}  // namespace pamir::weights
