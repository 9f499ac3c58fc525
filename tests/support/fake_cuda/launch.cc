#include "support/fake_cuda/launch.h"

#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace pamir::testing {
namespace {

// All halves as floats: much faster than converting each.
const std::vector<float>& HalfTable() {
  static const std::vector<float> table = [] {
    std::vector<float> floats(size_t{1} << 16);
    for (size_t bits = 0; bits < floats.size(); ++bits) {
      floats[bits] = HalfToFloat(static_cast<uint16_t>(bits));
    }
    return floats;
  }();
  return table;
}

}  // namespace

Launch::Launch(const char* name, StreamRef stream) : stream_(stream) { work_.name = name; }

Launch& Launch::Touches(const char* argument, const void* data, int64_t bytes, int64_t alignment) {
  PAMIR_CHECK(bytes == 0 || reinterpret_cast<uintptr_t>(data) % static_cast<size_t>(alignment) == 0,
              absl::StrCat(std::string(work_.name), ": ", std::string(argument),
                           " is not aligned to ", alignment, " bytes"));
  work_.ranges.push_back({argument, data, bytes});
  return *this;
}

Launch& Launch::TouchesIfGiven(const char* argument, const void* data, int64_t bytes,
                               int64_t alignment) {
  return data == nullptr ? *this : Touches(argument, data, bytes, alignment);
}

int Launch::Go(std::function<void()> run) {
  work_.run = std::move(run);
  FakeState& state = FakeState::Current();
  return state.ReturnLaunch(state.Enqueue(stream_, std::move(work_)));
}

int Refuse() { return FakeState::Current().Return(kInvalidValue); }

const float* AsFloats(DType type, const void* data, int64_t count, std::vector<float>* storage) {
  if (type == DType::kFloat32) return static_cast<const float*>(data);
  storage->resize(static_cast<size_t>(count));
  const auto* bits = static_cast<const uint16_t*>(data);
  float* out = storage->data();
  if (type == DType::kFloat16) {
    const float* table = HalfTable().data();
    for (int64_t i = 0; i < count; ++i) out[i] = table[bits[i]];
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = std::bit_cast<float>(uint32_t{bits[i]} << 16);
  }
  return out;
}

}  // namespace pamir::testing
