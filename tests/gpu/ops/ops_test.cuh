// The parts of gpu_ops, a file each.
#ifndef PAMIR_TESTS_GPU_OPS_OPS_TEST_CUH_
#define PAMIR_TESTS_GPU_OPS_OPS_TEST_CUH_

#include "base/dtype.h"
#include "support/gpu_test.cuh"

namespace pamir::gpu_test {

inline std::vector<float> RandomFloats(int64_t count, uint32_t seed, float spread = 1,
                                       float mean = 0) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = random.Normal() * spread + mean;
  return values;
}

// The floats nearest to `values` that the type has.
inline std::vector<float> Rounded(DType type, std::vector<float> values) {
  std::vector<char> bits(SizeOf(type));
  for (float& v : values) {
    StoreFromFloat(type, bits.data(), 0, v);
    v = LoadAsFloat(type, bits.data(), 0);
  }
  return values;
}

// Device memory of any element type, filled from floats and read back as floats.
class TypedBuffer {
 public:
  TypedBuffer(DType type, size_t count) : type_(type), bytes_(count * SizeOf(type)) {
    bytes_.FillBytes(0xff);
  }
  TypedBuffer(DType type, const std::vector<float>& from) : TypedBuffer(type, from.size()) {
    std::vector<char> bytes(bytes_.size());
    for (size_t i = 0; i < from.size(); ++i) StoreFromFloat(type, bytes.data(), i, from[i]);
    bytes_.Set(bytes);
  }
  char* get() const { return bytes_.get(); }
  std::vector<float> Get() const {
    const std::vector<char> bytes = bytes_.Get();
    std::vector<float> to(bytes.size() / SizeOf(type_));
    for (size_t i = 0; i < to.size(); ++i) to[i] = LoadAsFloat(type_, bytes.data(), i);
    return to;
  }

 private:
  DType type_;
  Buffer<char> bytes_;
};

// How many elements differ in a bit.
template <typename T>
double Differences(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return -1;
  double count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(T)) != 0;
  return count;
}

void CheckNorm(Verdicts& verdicts, bool tiny);
void CheckEmbedding(Verdicts& verdicts, bool tiny);
void CheckSample(Verdicts& verdicts, bool tiny);
void CheckConvert(Verdicts& verdicts, bool tiny);
void CheckAttentionFloat32(Verdicts& verdicts, bool tiny);
void TimeNorm();
void TimeSample();
void TimeConvert(double read_only_rate);
void TimeAttentionFloat32();

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_OPS_OPS_TEST_CUH_
