// Sources for tests: a dummy model in another dtype, with one tensor spoilt.
#ifndef PAMIR_TESTS_UNIT_WEIGHTS_TEST_SOURCES_H_
#define PAMIR_TESTS_UNIT_WEIGHTS_TEST_SOURCES_H_

#include <memory>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "core/spec/model_spec.h"
#include "engine/weights/tensor_source.h"

namespace pamir::weights {

// Odd sizes: no dimension of a shard is a multiple of 16, so panels are shared and padded.
inline spec::ModelSpec OddModel(const std::string& variant = "plain") {
  spec::ModelSpec model;
  model.name = "odd-" + variant;
  model.layers = 3;
  model.hidden = 60;
  model.heads = 6;
  model.ffn = 250;
  model.vocab = 301;
  model.positions = 40;
  model.embed = variant == "projected" ? 20 : 60;
  model.tied = variant != "untied";
  model.bias = model.norm_affine = variant != "bare";
  if (variant == "gelu") model.activation = spec::Activation::kGelu;
  if (variant == "post-norm") model.pre_norm = model.final_norm = false;
  return model;
}
inline const char* const kOddVariants[] = {"plain", "projected", "untied",
                                           "bare",  "gelu",      "post-norm"};

// The dummy model as if it were stored in `dtype`, and at most one thing wrong with it.
class SpoiltSource final : public TensorSource {
 public:
  SpoiltSource(const spec::ModelSpec& model, DType dtype)
      : dummy_(MakeDummySource(model, {})), dtype_(dtype) {}

  std::string missing;     // this tensor is not there
  std::string reshaped;    // this one has another shape
  std::string unreadable;  // reading this one fails
  std::string valued;      // this one holds `value` at [row, column]
  int64_t row = 0, column = 0;
  float value = 0;

  absl::StatusOr<TensorInfo> Find(const std::string& name) const override {
    if (name == missing) return absl::NotFoundError("tensor \"" + name + "\" is not in the test");
    PAMIR_ASSIGN_OR_RETURN(TensorInfo info, dummy_->Find(name));
    info.dtype = dtype_;
    if (name == reshaped) info.shape.back() += 1;
    return info;
  }

  absl::Status Read(const std::string& name, Range rows, Range columns, void* out) const override {
    if (name == unreadable) return absl::DataLossError("the disk of " + name + " is gone");
    std::vector<uint16_t> halves(static_cast<size_t>(rows.size() * columns.size()));
    PAMIR_RETURN_IF_ERROR(dummy_->Read(name, rows, columns, halves.data()));
    for (size_t i = 0; i < halves.size(); ++i) {
      StoreFromFloat(dtype_, out, i, HalfToFloat(halves[i]));
    }
    if (name == valued && rows.contains(row) && columns.contains(column)) {
      const int64_t at = (row - rows.begin) * columns.size() + column - columns.begin;
      StoreFromFloat(dtype_, out, at, value);
    }
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<TensorSource> dummy_;
  DType dtype_;
};

}  // namespace pamir::weights

#endif  // PAMIR_TESTS_UNIT_WEIGHTS_TEST_SOURCES_H_
