// Kernels that go over rows: embeddings, picked rows, norms.
#include "support/fake_cuda/rows.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "support/fake_cuda/launch.h"
#include "support/fake_cuda/runtime.h"

namespace pamir::testing {
namespace {

using kernels::AddPositionsCudaArgs;
using kernels::EmbedCudaArgs;
using kernels::NormCudaArgs;
using kernels::PickRowsCudaArgs;
using kernels::ScatterTokensCudaArgs;

constexpr int kPositionOffset = 2;  // OPT's position table begins two rows early

int64_t Bytes(DType type, int64_t count) { return count * static_cast<int64_t>(SizeOf(type)); }

void AddPosition(const char* name, const void* table, DType type, int32_t position, int64_t width,
                 float* x) {
  PAMIR_CHECK(position >= 0, absl::StrCat(std::string(name), ": position ", position));
  const void* from = At(type, table, (position + kPositionOffset) * width);
  CheckDeviceRange(name, -1, {"the row of a position", from, Bytes(type, width)});
  std::vector<float> storage;
  const float* row = AsFloats(type, from, width, &storage);
  for (int64_t i = 0; i < width; ++i) x[i] += row[i];
}

int32_t IdOf(const EmbedCudaArgs& a, int64_t token) {
  const int32_t id = a.ids[token];
  if (id >= 0) return id;
  PAMIR_CHECK(a.sampled != nullptr, "embed: an id asks for a sampled token; `sampled` is null");
  const int32_t* sampled = a.sampled + (-1 - int64_t{id});
  CheckDeviceRange("embed", -1, {"sampled", sampled, sizeof *sampled});
  return *sampled;
}

void RunEmbed(const EmbedCudaArgs& a) {
  std::vector<float> storage, x(static_cast<size_t>(a.width));
  for (int64_t t = 0; t < a.tokens; ++t) {
    const int64_t row = IdOf(a, t) - a.first_row;
    x.assign(x.size(), 0.0f);
    if (row >= 0 && row < a.table_rows) {
      const float* from =
          AsFloats(a.table_type, At(a.table_type, a.table, row * a.width), a.width, &storage);
      x.assign(from, from + a.width);
    }
    if (a.positions != nullptr) {
      AddPosition("embed", a.position_table, a.table_type, a.positions[t], a.width, x.data());
    }
    for (int64_t i = 0; i < a.width; ++i) {
      StoreFromFloat(a.out_type, a.out, static_cast<size_t>(t * a.width + i),
                     x[static_cast<size_t>(i)]);
    }
  }
}

int Embed(const EmbedCudaArgs& a, StreamRef stream) {
  if (a.width % 4 != 0) return Refuse();
  if (a.tokens == 0) return FakeState::Current().Return(0);
  return Launch("embed", stream)
      .Touches("ids", a.ids, a.tokens * 4)
      .Touches("table", a.table, Bytes(a.table_type, a.table_rows * a.width), 8)
      .TouchesIfGiven("positions", a.positions, a.tokens * 4)
      .Touches("out", a.out, Bytes(a.out_type, a.tokens * a.width), 8)
      .Go([a] { RunEmbed(a); });
}

int AddPositions(const AddPositionsCudaArgs& a, StreamRef stream) {
  if (a.width % 4 != 0) return Refuse();
  if (a.tokens == 0) return FakeState::Current().Return(0);
  return Launch("add_positions", stream)
      .Touches("positions", a.positions, a.tokens * 4)
      .Touches("x", a.x, a.tokens * a.width * 4, 16)
      .Go([a] {
        for (int64_t t = 0; t < a.tokens; ++t) {
          AddPosition("add_positions", a.table, a.table_type, a.positions[t], a.width,
                      a.x + t * a.width);
        }
      });
}

int PickRows(const PickRowsCudaArgs& a, StreamRef stream) {
  if (a.row_bytes % 16 != 0) return Refuse();
  if (a.count == 0) return FakeState::Current().Return(0);
  return Launch("pick_rows", stream)
      .Touches("rows", a.rows, a.count * 4)
      .Touches("out", a.out, a.count * a.row_bytes, 16)
      .Go([a] {
        for (int64_t i = 0; i < a.count; ++i) {
          const char* from = static_cast<const char*>(a.in) + a.rows[i] * a.row_bytes;
          CheckDeviceRange("pick_rows", -1, {"a row of in", from, a.row_bytes});
          std::memcpy(static_cast<char*>(a.out) + i * a.row_bytes, from,
                      static_cast<size_t>(a.row_bytes));
        }
      });
}

int ScatterTokens(const ScatterTokensCudaArgs& a, StreamRef stream) {
  if (a.count == 0) return FakeState::Current().Return(0);
  return Launch("scatter_tokens", stream)
      .Touches("tokens", a.tokens, a.count * 4)
      .Touches("slots", a.slots, a.count * 4)
      .Go([a] {
        for (int64_t i = 0; i < a.count; ++i) {
          CheckDeviceRange("scatter_tokens", -1, {"sampled", a.sampled + a.slots[i], 4});
          a.sampled[a.slots[i]] = a.tokens[i];
        }
      });
}

void RunAddNorm(const NormCudaArgs& a) {
  std::vector<float> storage, sum(static_cast<size_t>(a.width));
  for (int64_t row = 0; row < a.rows; ++row) {
    float* x = a.x + row * a.width;
    sum.assign(x, x + a.width);
    if (a.delta != nullptr) {
      const float* delta =
          AsFloats(a.delta_type, At(a.delta_type, a.delta, row * a.width), a.width, &storage);
      for (size_t i = 0; i < sum.size(); ++i) {
        sum[i] += delta[i] + (a.bias != nullptr ? a.bias[i] : 0.0f);
      }
      std::memcpy(x, sum.data(), sum.size() * sizeof(float));
    }
    if (a.normalize) NormRow(sum.data(), a.width, a.gamma, a.beta, a.epsilon, sum.data());
    if (a.y_into_x) std::memcpy(x, sum.data(), sum.size() * sizeof(float));
    for (size_t i = 0; a.y != nullptr && i < sum.size(); ++i) {
      StoreFromFloat(a.y_type, a.y, static_cast<size_t>(row * a.width) + i, sum[i]);
    }
  }
}

int AddNorm(const NormCudaArgs& a, StreamRef stream) {
  if (a.rows == 0) return FakeState::Current().Return(0);
  if (a.width <= 0 || a.width % 4 != 0 || a.width > kernels::kNormCudaWidthMax ||
      (a.y_into_x && !a.normalize)) {
    return Refuse();
  }
  return Launch("add_norm", stream)
      .Touches("x", a.x, a.rows * a.width * 4, 16)
      .TouchesIfGiven("delta", a.delta, Bytes(a.delta_type, a.rows * a.width), 16)
      .TouchesIfGiven("bias", a.bias, a.width * 4, 16)
      .TouchesIfGiven("gamma", a.gamma, a.width * 4, 16)
      .TouchesIfGiven("beta", a.beta, a.width * 4, 16)
      .TouchesIfGiven("y", a.y, Bytes(a.y_type, a.rows * a.width), 16)
      .Go([a] { RunAddNorm(a); });
}

}  // namespace

void NormRow(const float* x, int64_t width, const float* gamma, const float* beta, float epsilon,
             float* y) {
  float sum = 0, squares = 0;
  for (int64_t i = 0; i < width; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(width);
  for (int64_t i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const float inverse = 1 / std::sqrt(squares / static_cast<float>(width) + epsilon);
  for (int64_t i = 0; i < width; ++i) {
    const float scaled = (x[i] - mean) * inverse * (gamma != nullptr ? gamma[i] : 1.0f);
    y[i] = scaled + (beta != nullptr ? beta[i] : 0.0f);
  }
}

void FillRows(kernels::CudaApi* api) {
  api->embed = Embed;
  api->add_positions = AddPositions;
  api->pick_rows = PickRows;
  api->scatter_tokens = ScatterTokens;
  api->add_norm = AddNorm;
}

}  // namespace pamir::testing
