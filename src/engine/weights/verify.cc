#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "engine/weights/check_tensor.h"
#include "engine/weights/inspect.h"
#include "engine/weights/progress.h"

namespace pamir::weights {
namespace {

constexpr int64_t kBufferBytes = 4 * kMiB;

// All data of one tensor, some rows at a time, or a piece of a row where one row is too long.
absl::Status VerifyData(const TensorSource& source, const spec::TensorSpec& tensor, DType dtype,
                        char* buffer, ProgressMeter& meter) {
  const int64_t rows = tensor.shape[0];
  const int64_t columns = tensor.shape.size() == 1 ? 1 : tensor.shape[1];
  const int64_t element = SizeOf(dtype);
  const int64_t width = std::min(columns, kBufferBytes / element);
  const int64_t height = std::max(int64_t{1}, kBufferBytes / (width * element));
  for (int64_t row = 0; row < rows; row += height) {
    for (int64_t column = 0; column < columns; column += width) {
      const Range r{row, std::min(rows, row + height)};
      const Range c{column, std::min(columns, column + width)};
      PAMIR_RETURN_IF_ERROR(source.Read(tensor.name, r, c, buffer));
      PAMIR_RETURN_IF_ERROR(
          CheckFinite(tensor.name, dtype, dtype, buffer, r.size(), c.size(), row, column));
      meter.Add(r.size() * c.size() * element);
    }
  }
  return absl::OkStatus();
}

// Problems found so far, of which only the first are kept.
class Problems {
 public:
  void Add(const absl::Status& status) {
    if (status.ok()) return;
    if (++count_ <= kMaxProblems) lines_.push_back(std::string(status.message()));
  }

  absl::Status Summary(const std::string& model) const {
    if (count_ == 0) return absl::OkStatus();
    std::string text = absl::StrCat(model, " has ", count_, count_ == 1 ? " problem" : " problems",
                                    ":\n", absl::StrJoin(lines_, "\n"));
    if (count_ > kMaxProblems) absl::StrAppend(&text, "\n... and ", count_ - kMaxProblems, " more");
    return absl::InvalidArgumentError(text);
  }

 private:
  int count_ = 0;
  std::vector<std::string> lines_;
};

}  // namespace

absl::Status VerifyCheckpoint(const spec::ModelSpec& model, const TensorSource& source,
                              const std::function<void(LoadProgress)>& progress) {
  struct Found {
    spec::TensorSpec tensor;
    DType dtype;
  };
  Problems problems;
  std::vector<Found> found;
  int64_t total = 0;
  for (spec::TensorSpec& tensor : spec::CheckpointTensors(model)) {
    const absl::StatusOr<TensorInfo> info = FindChecked(source, tensor);
    problems.Add(info.status());
    if (!info.ok()) continue;
    total += tensor.elements() * static_cast<int64_t>(SizeOf(info->dtype));
    found.push_back({std::move(tensor), info->dtype});
  }
  ProgressMeter meter(total, progress);
  const auto buffer = std::make_unique_for_overwrite<char[]>(kBufferBytes);
  for (const Found& f : found) {
    problems.Add(VerifyData(source, f.tensor, f.dtype, buffer.get(), meter));
  }
  meter.Finish();
  return problems.Summary(model.name);
}

}  // namespace pamir::weights
