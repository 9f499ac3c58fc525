// Products in float32. Every output is kLanes sums, of the inputs k with k mod kLanes = l, added up
// in one order at the end: loops over outputs and loops over inputs both become vector code, and
// both orders of the weights, all numbers of rows and skipped zeros give the same bits.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "support/fake_cuda/launch.h"
#include "support/fake_cuda/rows.h"
#include "support/fake_cuda/runtime.h"

namespace pamir::kernels::cuda {

// The fake's: this program has no other.
struct ProductDevice {
  int device = 0;
  int capability = 0;
};

}  // namespace pamir::kernels::cuda

namespace pamir::testing {
namespace {

using kernels::Activation;
using kernels::cuda::GpuProductArgs;
using kernels::cuda::kGroup;
using kernels::cuda::NormPrologue;
using kernels::cuda::ProductDevice;
using kernels::cuda::WeightOrder;

constexpr int64_t kLanes = 16;
constexpr int64_t kTileOutputs = 32;  // of kNeurons
constexpr char kProductHandle[] = "handle of a product";

float AddLanes(const float* lanes, int64_t stride) {
  float sum = 0;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l * stride];
  return sum;
}

float Dot(const float* x, const float* w, int64_t count) {
  float lanes[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += x[k + l] * w[k + l];
  }
  for (int64_t l = 0; k < count; ++k, ++l) lanes[l] += x[k] * w[k];
  return AddLanes(lanes, 1);
}

float Finish(float sum, const float* bias, Activation activation) {
  const float v = sum + 0.0f + (bias != nullptr ? *bias : 0.0f);
  if (activation == Activation::kRelu) return v > 0 ? v : 0;
  if (activation == Activation::kGelu) return 0.5f * v * (1 + std::erf(v * 0.70710678f));
  return v;
}

struct Call {
  GpuProductArgs args;
  std::optional<NormPrologue> norm;  // a copy: the caller's lives only as long as the call
};

void StoreOutput(const GpuProductArgs& a, int64_t row, int64_t out, float sum) {
  const float v = Finish(sum, a.bias != nullptr ? a.bias + out : nullptr, a.activation);
  const auto at = static_cast<size_t>(row * a.y_stride + out);
  StoreFromFloat(a.y_type, a.y, at, v);
  if (a.active_out != nullptr && LoadAsFloat(a.y_type, a.y, at) != 0) {
    a.active_out[out / kGroup] = 1;
  }
}

// x is [rows][in] here and below.
void MultiplyOutputs(const GpuProductArgs& a, const std::vector<float>& x) {
  std::vector<float> storage;
  for (int64_t o = 0; o < a.w.out; ++o) {
    const float* w = AsFloats(a.type, At(a.type, a.w.data, o * a.w.in), a.w.in, &storage);
    for (int64_t r = 0; r < a.rows; ++r) {
      StoreOutput(a, r, o, Dot(x.data() + r * a.w.in, w, a.w.in));
    }
  }
}

// Outputs first .. first + kTileOutputs - 1 of all inputs, zeros behind the last.
void LoadTile(const GpuProductArgs& a, int64_t first, std::vector<float>* tile) {
  const int64_t count = std::min(kTileOutputs, a.w.out - first);
  std::vector<float> storage;
  tile->assign(static_cast<size_t>(a.w.in * kTileOutputs), 0.0f);
  for (int64_t k = 0; k < a.w.in; ++k) {
    const float* w = AsFloats(a.type, At(a.type, a.w.data, k * a.w.out + first), count, &storage);
    std::copy_n(w, count, tile->data() + k * kTileOutputs);
  }
}

void MultiplyNeurons(const GpuProductArgs& a, const std::vector<float>& x) {
  std::vector<float> tile;
  for (int64_t first = 0; first < a.w.out; first += kTileOutputs) {
    LoadTile(a, first, &tile);
    for (int64_t r = 0; r < a.rows; ++r) {
      float lanes[kLanes][kTileOutputs] = {};
      for (int64_t k = 0; k < a.w.in; ++k) {
        const float v = x[static_cast<size_t>(r * a.w.in + k)];
        if (v == 0) continue;  // finite weights: it would add exactly nothing
        const float* w = tile.data() + k * kTileOutputs;
        float* sums = lanes[k % kLanes];
        for (int64_t o = 0; o < kTileOutputs; ++o) sums[o] += v * w[o];
      }
      for (int64_t o = first; o < std::min(first + kTileOutputs, a.w.out); ++o) {
        StoreOutput(a, r, o, AddLanes(&lanes[0][o - first], kTileOutputs));
      }
    }
  }
}

std::vector<float> LoadRows(const GpuProductArgs& a) {
  std::vector<float> x, storage;
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* row = AsFloats(a.type, At(a.type, a.x, r * a.x_stride), a.w.in, &storage);
    x.insert(x.end(), row, row + a.w.in);
  }
  return x;
}

// LayerNorm(x + delta), rounded to the product's type.
std::vector<float> NormRows(const GpuProductArgs& a, const NormPrologue& n) {
  const int64_t width = a.w.in;
  std::vector<float> rows(n.x, n.x + a.rows * width);
  for (int64_t r = 0; r < a.rows; ++r) {
    float* row = rows.data() + r * width;
    for (int64_t i = 0; n.delta != nullptr && i < width; ++i) {
      row[i] += n.delta[r * width + i] + (n.delta_bias != nullptr ? n.delta_bias[i] : 0.0f);
    }
    if (n.x_out != nullptr) std::copy_n(row, width, n.x_out + r * width);
    NormRow(row, width, n.gamma, n.beta, n.epsilon, row);
    for (int64_t i = 0; i < width; ++i) {
      uint16_t bits = 0;
      StoreFromFloat(a.type, &bits, 0, row[i]);  // norms come with 16-bit weights only
      row[i] = LoadAsFloat(a.type, &bits, 0);
    }
  }
  return rows;
}

// A flag of 0 promises zeros: whoever breaks it gets wrong tokens from a GPU.
void CheckFlags(const GpuProductArgs& a, const std::vector<float>& x) {
  for (int64_t i = 0; a.active_in != nullptr && i < a.rows * a.w.in; ++i) {
    const int64_t k = i % a.w.in;
    PAMIR_CHECK(a.active_in[k / kGroup] != 0 || x[static_cast<size_t>(i)] == 0,
                absl::StrCat("product: active_in has 0 for the group of input ", k, ", row ",
                             i / a.w.in, " holds ", x[static_cast<size_t>(i)]));
  }
}

void RunProduct(const Call& call) {
  const GpuProductArgs& a = call.args;
  const std::vector<float> x = call.norm.has_value() ? NormRows(a, *call.norm) : LoadRows(a);
  CheckFlags(a, x);
  if (a.active_out != nullptr) std::fill_n(a.active_out, (a.w.out + kGroup - 1) / kGroup, 0);
  a.w.order == WeightOrder::kOutputs ? MultiplyOutputs(a, x) : MultiplyNeurons(a, x);
}

bool NormFits(const ProductDevice* device, const GpuProductArgs& a) {
  constexpr int64_t kRows = 8, kWidth = 2048;
  return device->capability == 90 && a.type != DType::kFloat32 && a.rows <= kRows &&
         a.w.order == WeightOrder::kOutputs && a.w.in <= kWidth && a.w.in % kGroup == 0;
}

bool Sound(const ProductDevice* device, const GpuProductArgs& a) {
  const int64_t contiguous = a.w.order == WeightOrder::kNeurons ? a.w.out : a.w.in;
  if (a.type == DType::kFloat32 && a.active_out != nullptr) return false;
  const bool x =
      a.norm != nullptr ? NormFits(device, a) : a.x_stride % 8 == 0 && a.x_stride >= a.w.in;
  return x && a.rows > 0 && a.w.out > 0 && a.w.in > 0 && contiguous % 8 == 0 &&
         a.y_stride >= a.w.out &&
         (a.active_out == nullptr || a.rows <= kernels::cuda::kMaxFlagRows);
}

void TouchNorm(const GpuProductArgs& a, const NormPrologue& n, Launch* launch) {
  const int64_t row = a.w.in * 4;
  launch->Touches("norm.x", n.x, a.rows * row, 16);
  launch->TouchesIfGiven("norm.delta", n.delta, a.rows * row, 16);
  launch->TouchesIfGiven("norm.delta_bias", n.delta_bias, row, 16);
  launch->TouchesIfGiven("norm.gamma", n.gamma, row, 16);
  launch->TouchesIfGiven("norm.beta", n.beta, row, 16);
  launch->TouchesIfGiven("norm.x_out", n.x_out, a.rows * row, 16);
  PAMIR_CHECK(n.x_out != n.x, "product: norm.x_out is norm.x, which other blocks still read");
}

void Touch(const GpuProductArgs& a, Launch* launch) {
  const auto size = static_cast<int64_t>(SizeOf(a.type));
  const auto y_size = static_cast<int64_t>(SizeOf(a.y_type));
  if (a.norm == nullptr) {
    launch->Touches("x", a.x, Span(a.rows, a.x_stride, a.w.in, size), 16);
    PAMIR_CHECK(a.x != a.y, "product: y is x");
  } else {
    TouchNorm(a, *a.norm, launch);
  }
  launch->Touches("w", a.w.data, a.w.out * a.w.in * size, 16)
      .TouchesIfGiven("bias", a.bias, a.w.out * 4)
      .TouchesIfGiven("bias_in_y_type", a.bias_in_y_type, a.w.out * y_size)
      .Touches("y", a.y, Span(a.rows, a.y_stride, a.w.out, y_size))
      .TouchesIfGiven("active_out", a.active_out, (a.w.out + kGroup - 1) / kGroup, 1)
      .TouchesIfGiven("active_in", a.active_in, (a.w.in + kGroup - 1) / kGroup, 1);
}

int Product(const ProductDevice* device, StreamRef stream, const GpuProductArgs& a) {
  if (!Sound(device, a)) return Refuse();
  Launch launch("product", stream);
  Touch(a, &launch);
  Call call = {a, a.norm != nullptr ? std::optional(*a.norm) : std::nullopt};
  call.args.norm = nullptr;
  return launch.Go([call] { RunProduct(call); });
}

// There is one way, so nothing is tuned; but what it is given must be whole.
int TuneProduct(ProductDevice* device, StreamRef stream, const GpuProductArgs& a, void* reference,
                kernels::cuda::Workspace workspace, kernels::cuda::TunedWay* result) {
  if (!Sound(device, a) || a.y_stride != a.w.out || a.active_out != nullptr) return Refuse();
  Launch launch("tune_product", stream);
  Touch(a, &launch);
  const int64_t y_bytes = a.rows * a.w.out * static_cast<int64_t>(SizeOf(a.y_type));
  launch.Touches("reference", reference, y_bytes)
      .Touches("workspace", workspace.data, static_cast<int64_t>(workspace.bytes));
  *result = {};
  return launch.Go([] {});
}

int OpenProduct(bool, ProductDevice** device) {
  FakeState& state = FakeState::Current();
  auto made = std::make_unique<ProductDevice>();
  made->device = FakeState::device();
  made->capability = state.options.capability;
  *device = made.release();
  state.AddHandle(*device, kProductHandle);
  return state.Return(0);
}

void CloseProduct(ProductDevice* device) {
  if (device == nullptr) return;
  FakeState::Current().RemoveHandle(device, kProductHandle);
  delete device;
}

}  // namespace

void FillProducts(kernels::CudaApi* api) {
  api->open_product = OpenProduct;
  api->close_product = CloseProduct;
  api->product = Product;
  api->norm_prologue_fits = NormFits;
  api->tune_product = TuneProduct;
}

}  // namespace pamir::testing
