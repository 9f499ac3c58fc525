// A fake device with what tests of its kernels need.
#ifndef PAMIR_TESTS_UNIT_DEVICE_FAKE_KERNELS_H_
#define PAMIR_TESTS_UNIT_DEVICE_FAKE_KERNELS_H_

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "base/dtype.h"
#include "engine/device/cuda_device.h"
#include "gtest/gtest.h"
#include "support/fake_cuda/fake_cuda.h"

namespace pamir::device {

class FakeKernels : public ::testing::Test {
 protected:
  const kernels::CudaApi& api() const { return device_->api(); }

  // Device memory that lives as long as the test.
  template <typename T>
  T* Device(const std::vector<T>& values) {
    memory_.push_back(
        AllocateCuda(*device_, static_cast<int64_t>(values.size() * sizeof(T)), "test").value());
    std::memcpy(memory_.back().get(), values.data(), values.size() * sizeof(T));
    return static_cast<T*>(memory_.back().get());
  }
  void* Device(DType type, const std::vector<float>& values) {
    std::vector<char> bytes(values.size() * SizeOf(type));
    for (size_t i = 0; i < values.size(); ++i) StoreFromFloat(type, bytes.data(), i, values[i]);
    return Device(bytes);
  }
  std::vector<float> Random(int64_t count, float zeros = 0) {
    std::vector<float> values(static_cast<size_t>(count));
    std::uniform_real_distribution<float> uniform(-1, 1), chance(0, 1);
    for (float& v : values) v = chance(random_) < zeros ? 0 : uniform(random_);
    return values;
  }
  StreamRef stream() const { return stream_.get(); }

  testing::FakeCuda fake_;
  std::unique_ptr<CudaDevice> device_ = CudaDevice::OpenWith(fake_.api(), 0).value();
  CudaStream stream_ = MakeStream(*device_).value();
  std::vector<CudaMemory> memory_;
  std::mt19937 random_{1};
};

// As an element of that type.
inline float Rounded(DType type, float v) {
  float bits = 0;
  StoreFromFloat(type, &bits, 0, v);
  return LoadAsFloat(type, &bits, 0);
}

}  // namespace pamir::device

#endif  // PAMIR_TESTS_UNIT_DEVICE_FAKE_KERNELS_H_
