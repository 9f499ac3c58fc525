// fc2 of the neurons that are not zero, in the order that skip_neurons_cuda.h names: ranges of
// neurons, sections of ranges.
#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "support/fake_cuda/launch.h"
#include "support/fake_cuda/runtime.h"

namespace pamir::testing {
namespace {

using kernels::cuda::kSkipRange;
using kernels::cuda::kSkipSection;
using kernels::cuda::SkipNeuronsArgs;

constexpr int64_t kCounterBytes = 4096;  // of the scratch, zero before and after a launch

int64_t Sections(int64_t in) { return (in + kSkipSection - 1) / kSkipSection; }

size_t ScratchBytes(int64_t rows, int64_t out, int64_t in) {
  return static_cast<size_t>(rows * Sections(in) * out * 4 + kCounterBytes);
}

using Sums = std::vector<float>;

void Add(const Sums& from, Sums* to) {
  for (size_t o = 0; o < to->size(); ++o) (*to)[o] += from[o];
}

// Neurons first .. end - 1 of one row.
Sums SumRange(const SkipNeuronsArgs& a, const float* x, int64_t first, int64_t end,
              std::vector<float>* storage) {
  Sums sums(static_cast<size_t>(a.out));
  for (int64_t i = first; i < end; ++i) {
    if (x[i] == 0) continue;
    const float* w = AsFloats(a.type, At(a.type, a.w, i * a.out), a.out, storage);
    for (size_t o = 0; o < sums.size(); ++o) sums[o] += x[i] * w[o];
  }
  return sums;
}

void RunRow(const SkipNeuronsArgs& a, int64_t row) {
  std::vector<float> x_storage, w_storage;
  const float* x = AsFloats(a.type, At(a.type, a.x, row * a.x_stride), a.in, &x_storage);
  Sums total(static_cast<size_t>(a.out));
  for (int64_t section = 0; section < a.in; section += kSkipSection) {
    Sums sums(static_cast<size_t>(a.out));
    for (int64_t first = section; first < std::min(section + kSkipSection, a.in);
         first += kSkipRange) {
      Add(SumRange(a, x, first, std::min(first + kSkipRange, a.in), &w_storage), &sums);
    }
    Add(sums, &total);
  }
  for (int64_t o = 0; o < a.out; ++o) {
    const float bias = a.bias != nullptr ? a.bias[o] : 0;
    a.y[row * a.y_stride + o] = total[static_cast<size_t>(o)] + bias;
  }
}

void Run(const SkipNeuronsArgs& a) {
  const char* counters = static_cast<const char*>(a.scratch);
  PAMIR_CHECK(std::all_of(counters, counters + kCounterBytes, [](char c) { return c == 0; }),
              "skip_neurons: the scratch was not zeroed");
  std::vector<int64_t> seen;
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t row = a.index != nullptr ? a.index[r] : r;
    if (row < 0) continue;
    PAMIR_CHECK(std::find(seen.begin(), seen.end(), row) == seen.end(),
                absl::StrCat("skip_neurons: index names row ", row, " twice"));
    seen.push_back(row);
    const char* x = At(a.type, a.x, row * a.x_stride);
    CheckDeviceRange("skip_neurons", -1, {"a row of x", x, a.x_stride * 2});
    CheckDeviceRange("skip_neurons", -1, {"a row of y", a.y + row * a.y_stride, a.out * 4});
    RunRow(a, row);
  }
}

int SkipNeurons(const SkipNeuronsArgs& a, StreamRef stream, kernels::cuda::SkipNeuronsWay) {
  const bool sound = a.type != DType::kFloat32 && a.rows > 0 && a.rows <= a.scratch_rows &&
                     a.rows <= kernels::cuda::kMaxSkipNeuronsRows && a.out > 0 && a.in > 0 &&
                     a.out % 8 == 0 && a.x_stride % 8 == 0 && a.x_stride >= a.in &&
                     a.y_stride >= a.out;
  if (!sound) return Refuse();
  const auto scratch = static_cast<int64_t>(ScratchBytes(a.scratch_rows, a.out, a.in));
  return Launch("skip_neurons", stream)
      .Touches("x", a.x, a.index != nullptr ? 1 : Span(a.rows, a.x_stride, a.x_stride, 2), 16)
      .TouchesIfGiven("index", a.index, a.rows * 4)
      .Touches("w", a.w, a.in * a.out * 2, 16)
      .TouchesIfGiven("bias", a.bias, a.out * 4)
      .Touches("scratch", a.scratch, scratch, 16)
      .Go([a] { Run(a); });
}

}  // namespace

void FillSkipNeurons(kernels::CudaApi* api) {
  api->skip_neurons_scratch_bytes = ScratchBytes;
  api->skip_neurons = SkipNeurons;
}

}  // namespace pamir::testing
