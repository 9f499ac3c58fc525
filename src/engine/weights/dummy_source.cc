// A model without files, scaled like OPT's initialization, so that activations and logits of every
// size are finite and not all alike.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/weights/dummy_values.h"
#include "engine/weights/tensor_source.h"

namespace pamir::weights {
namespace {

constexpr double kDeviation = 0.02;  // OPT's init_std; biases and norms get the same spread
// Beyond this share no shift is enough for fp16 to tell the difference.
constexpr double kLeastDensity = 1e-4;

// The shift of fc1's biases with which a share `density` of its outputs is positive. A LayerNorm's
// output has a mean square of 1, so an output of fc1 is normal with the deviation below.
double Fc1Shift(const spec::ModelSpec& model, double density) {
  if (density == 0.5) return 0;
  const double share = std::clamp(density, kLeastDensity, 1 - kLeastDensity);
  const double deviation = kDeviation * std::sqrt(static_cast<double>(model.hidden) + 1);
  return deviation * NormalQuantile(share);
}

class DummySource final : public TensorSource {
 public:
  DummySource(const spec::ModelSpec& model, const DummyOptions& options) : name_(model.name) {
    const auto levels = StandardNormalLevels();
    centred_ = ScaledTable(levels, 0, kDeviation);
    gamma_ = ScaledTable(levels, 1, kDeviation);
    fc1_bias_ = ScaledTable(levels, Fc1Shift(model, options.relu_density), kDeviation);
    for (spec::TensorSpec& tensor : spec::CheckpointTensors(model)) {
      const NormalTable* table = TableOf(tensor.name);
      const uint64_t key = DummyKey(options.seed, tensor.name);
      tensors_.emplace(tensor.name, Tensor{std::move(tensor.shape), table, key});
    }
  }
  DummySource(const DummySource&) = delete;
  DummySource& operator=(const DummySource&) = delete;

  absl::StatusOr<TensorInfo> Find(const std::string& name) const override {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) return Missing(name);
    return TensorInfo{DType::kFloat16, it->second.shape};
  }

  absl::Status Read(const std::string& name, Range rows, Range columns, void* out) const override {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) return Missing(name);
    const Tensor& tensor = it->second;
    const int64_t height = tensor.shape[0], width = tensor.shape.size() == 1 ? 1 : tensor.shape[1];
    if (rows.begin < 0 || rows.size() < 0 || rows.end > height || columns.begin < 0 ||
        columns.size() < 0 || columns.end > width) {
      return absl::InvalidArgumentError(absl::StrCat(
          "dummy tensor \"", name, "\": rows ", rows.begin, "..", rows.end, " and columns ",
          columns.begin, "..", columns.end, " are not within [", height, ", ", width, "]"));
    }
    uint16_t* to = static_cast<uint16_t*>(out);
    if (columns.size() == width) {
      FillDummy(*tensor.table, tensor.key, rows.begin * width, rows.size() * width, to);
      return absl::OkStatus();
    }
    for (int64_t row = rows.begin; row < rows.end; ++row, to += columns.size()) {
      FillDummy(*tensor.table, tensor.key, row * width + columns.begin, columns.size(), to);
    }
    return absl::OkStatus();
  }

 private:
  struct Tensor {
    std::vector<int64_t> shape;
    const NormalTable* table = nullptr;
    uint64_t key = 0;
  };

  const NormalTable* TableOf(const std::string& tensor) const {
    if (absl::EndsWith(tensor, "norm.weight")) return &gamma_;
    if (absl::EndsWith(tensor, ".fc1.bias")) return &fc1_bias_;
    return &centred_;
  }

  absl::Status Missing(const std::string& name) const {
    return absl::NotFoundError(
        absl::StrCat("tensor \"", name, "\" is not one of the dummy model ", name_));
  }

  const std::string name_;
  NormalTable centred_, gamma_, fc1_bias_;
  std::unordered_map<std::string, Tensor> tensors_;
};

}  // namespace

std::unique_ptr<TensorSource> MakeDummySource(const spec::ModelSpec& model,
                                              const DummyOptions& options) {
  return std::make_unique<DummySource>(model, options);
}

}  // namespace pamir::weights
