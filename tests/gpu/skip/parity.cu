// The full skip against the rule of skip_neurons_cuda.h: every output against a plain kernel that
// takes one row and one output at a time, and that against the CPU. Bit for bit, for every number
// of rows and every way. As each row is judged alone, this also holds it to be the same in a crowd.
#include <cmath>
#include <cstring>
#include <string>

#include "tests/gpu/skip/skip_test.cuh"

namespace pamir::gpu_test {
namespace {

using namespace kernels::cuda;  // NOLINT: a test
using Way = SkipNeuronsWay;

struct Shape {
  int in, out;
  DType type;
  double density;
};

constexpr int kPadding = 8;  // of y's rows
constexpr int kBiasSeed = 5;

// Row blockIdx.y of x, by the rule and nothing else.
__global__ void Judge(const uint16_t* x, int stride, const uint16_t* w, const float* bias,
                      Shape shape, float* y) {
  const int out = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
  if (out >= shape.out) return;
  float total = 0, section = 0, range = 0;
  for (int i = 0; i < shape.in; ++i) {
    const float value = FloatOf(x[static_cast<int64_t>(row) * stride + i], shape.type);
    const float weight = FloatOf(w[static_cast<int64_t>(i) * shape.out + out], shape.type);
    if (value != 0) range = __fmaf_rn(value, weight, range);
    const bool last = i + 1 == shape.in;
    if (last || (i + 1) % kSkipRange == 0) section = __fadd_rn(section, range + 0.0f), range = 0;
    if (last || (i + 1) % kSkipSection == 0) total = __fadd_rn(total, section), section = 0;
  }
  y[static_cast<int64_t>(row) * shape.out + out] = bias != nullptr ? total + bias[out] : total;
}

// Rows of y, bits that differ from the judge's; and padding that was written. The row of x and y at
// slot r is index[r].
__global__ void Compare(const float* judge, const float* y, int rows, int out, const int32_t* index,
                        unsigned* different) {
  const int stride = out + kPadding;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < rows * stride;
       i += gridDim.x * blockDim.x) {
    const int row = i / stride, o = i % stride;
    bool wanted = o < out;
    if (index != nullptr) {
      bool listed = false;
      for (int r = 0; r < rows; ++r) listed |= index[r] == row;
      wanted = wanted && listed;
    }
    const unsigned want =
        wanted ? __float_as_uint(judge[static_cast<int64_t>(row) * out + o]) : ~0u;
    if (__float_as_uint(y[i]) != want) atomicAdd(different, 1);
  }
}

class Bench {
 public:
  Bench(const Shape& shape, int rows, std::vector<uint16_t> x, float weight_scale)
      : shape_(shape),
        rows_(rows),
        stride_(static_cast<int>(x.size()) / rows),
        host_x_(std::move(x)),
        x_(host_x_),
        w_(static_cast<size_t>(shape.in) * shape.out),
        bias_(Bias(shape.out)),
        judge_(static_cast<size_t>(rows) * shape.out),
        y_(static_cast<size_t>(rows) * (shape.out + kPadding)),
        scratch_(SkipNeuronsScratchBytes(rows, shape.out, shape.in)),
        different_(1) {
    scratch_.FillBytes(0);
    FillWeights<<<1024, 256>>>(w_.get(), w_.size(), shape.type, weight_scale);
    Judge<<<dim3((shape.out + 127) / 128, rows), 128>>>(x_.get(), stride_, w_.get(), bias_.get(),
                                                        shape, judge_.get());
    CUDA_CHECK(cudaGetLastError());
    CUDA_CHECK(cudaDeviceSynchronize());
  }

  // `first`: the row of x and of the judge that is row 0.
  SkipNeuronsArgs Args(int first, int rows) const {
    SkipNeuronsArgs a;
    a.x = x_.get() + static_cast<size_t>(first) * stride_;
    a.rows = rows;
    a.x_stride = stride_;
    a.w = w_.get();
    a.in = shape_.in;
    a.out = shape_.out;
    a.type = shape_.type;
    a.bias = bias_.get();
    a.y = y_.get();
    a.y_stride = shape_.out + kPadding;
    a.scratch = scratch_.get();
    a.scratch_rows = rows_;
    return a;
  }

  double Differences(const SkipNeuronsArgs& args, int first, Way way) {
    y_.FillBytes(0xff);
    different_.FillBytes(0);
    const int error = SkipNeuronsCuda(args, {}, way);
    if (error != 0) {
      std::printf("launch: %s\n", cudaGetErrorString(static_cast<cudaError_t>(error)));
      cudaGetLastError();
      return NAN;
    }
    Compare<<<256, 256>>>(judge_.get() + static_cast<size_t>(first) * shape_.out, y_.get(),
                          static_cast<int>(args.rows), shape_.out, args.index, different_.get());
    CUDA_CHECK(cudaGetLastError());
    return different_.Get()[0];
  }
  double Differences(int first, int rows, Way way) {
    return Differences(Args(first, rows), first, way);
  }

  // One output on the CPU. The zeros are multiplied here, so that skipping them is shown to change
  // nothing. broken: ranges by position among the neurons that any row needs, not by index.
  float OnCpu(int row, const std::vector<uint16_t>& w, float bias, bool broken) const {
    float total = 0, section = 0, range = 0;
    int at = 0;
    for (int i = 0; i < shape_.in; ++i) {
      bool needed = !broken;
      for (int r = 0; broken && r < rows_; ++r) needed |= Value(r, i) != 0;
      if (needed) range = std::fma(Value(row, i), FloatOf(w[i], shape_.type), range), ++at;
      const bool last = i + 1 == shape_.in;
      if (!needed && !last) continue;
      if (last || at % kSkipRange == 0) section += range + 0.0f, range = 0;
      if (last || at % kSkipSection == 0) total += section, section = 0;
    }
    return total + bias;
  }

  // Of the judge's values, how many differ from the CPU's.
  double JudgeDifferences(int outs, int rows, bool broken) const {
    const std::vector<float> judge = judge_.Get(), bias = bias_.Get();
    Random random(31);
    int different = 0;
    for (int n = 0; n < outs; ++n) {
      const int o = n == 0 ? shape_.out - 1 : random.Below(shape_.out);
      std::vector<uint16_t> w(shape_.in);
      CUDA_CHECK(cudaMemcpy2D(w.data(), 2, w_.get() + o, shape_.out * 2, 2, shape_.in,
                              cudaMemcpyDeviceToHost));
      for (int r = 0; r < rows; ++r) {
        const float want = OnCpu(r, w, bias[o], broken);
        different += std::memcmp(&want, &judge[static_cast<size_t>(r) * shape_.out + o], 4) != 0;
      }
    }
    return different;
  }

  uint16_t* weights() const { return w_.get(); }
  size_t weight_count() const { return w_.size(); }
  int rows() const { return rows_; }

 private:
  static std::vector<float> Bias(int out) {
    Random random(kBiasSeed);
    std::vector<float> bias(out);
    for (float& b : bias) b = random.Normal();
    return bias;
  }
  float Value(int row, int i) const {
    return FloatOf(host_x_[static_cast<size_t>(row) * stride_ + i], shape_.type);
  }

  Shape shape_;
  int rows_, stride_;
  std::vector<uint16_t> host_x_;
  Buffer<uint16_t> x_, w_;
  Buffer<float> bias_, judge_, y_;
  Buffer<char> scratch_;
  Buffer<unsigned> different_;
};

std::string NameOf(const Shape& s) {
  char name[96];
  std::snprintf(name, sizeof(name), "%d x %d %s, %g %% active", s.in, s.out,
                s.type == DType::kFloat16 ? "fp16" : "bf16", 100 * s.density);
  return name;
}

void CheckShape(Verdicts& verdicts, const Shape& s, int max_rows) {
  const std::string name = NameOf(s);
  const int stride = (s.in + 7) / 8 * 8 + 8;
  Bench bench(s, max_rows, Activations(max_rows, s.in, stride, s.density, s.type, 41), 0.05f);
  verdicts.Row(name + ": judge against the CPU", bench.JudgeDifferences(12, max_rows, false), 0);
  const struct {
    Way way;
    const char* name;
  } kWays[] = {{Way::kBest, "best"}, {Way::kSmall, "small"}};
  for (const auto& way : kWays) {
    double different = 0;
    for (const int rows : {1, 2, 3, 4, 5, 8, 9, 17, 64}) {
      if (rows <= max_rows) different += bench.Differences(0, rows, way.way);
    }
    for (int first = 1; first < max_rows; first += 7) {  // alone what was in a crowd
      different += bench.Differences(first, 1, way.way);
      different += bench.Differences(first, std::min(2, max_rows - first), way.way);
    }
    verdicts.Row(name + ", 1 to " + std::to_string(max_rows) + " rows: " + way.name, different, 0);
  }
}

// Rows by index, in another order and with gaps.
void CheckIndex(Verdicts& verdicts) {
  const Shape s = {4096, 520, DType::kFloat16, 0.1};
  Bench bench(s, 11, Activations(11, s.in, s.in, s.density, s.type, 43), 0.05f);
  const Buffer<int32_t> index(std::vector<int32_t>{10, -1, 3, 9, 0, -1, -1, 1, 7, 4, 8});
  SkipNeuronsArgs args = bench.Args(0, 11);
  args.index = index.get();
  verdicts.Row("rows by index", bench.Differences(args, 0, Way::kBest), 0);
}

// Products that vanish below bf16's and fp32's range leave -0, which must not depend on company.
void CheckUnderflow(Verdicts& verdicts) {
  const Shape s = {512, 64, DType::kBFloat16, 1};
  std::vector<uint16_t> x = Activations(8, s.in, s.in, 0.1, s.type, 47);
  for (uint16_t& v : x) {
    const uint16_t idle = &v - x.data() < s.in ? 0x8000 : 0;  // row 0: -0 where it is idle
    v = v != 0 ? BitsOf(0x1p-100f, s.type) : idle;
  }
  Bench bench(s, 8, x, 0x1p-60f);
  verdicts.Row("sums that underflow: judge against the CPU", bench.JudgeDifferences(64, 8, false),
               0);
  double different = bench.Differences(0, 8, Way::kBest);
  for (int r = 0; r < 8; ++r) different += bench.Differences(r, 1, Way::kBest);
  verdicts.Row("sums that underflow", different, 0);
}

void CheckRefusals(Verdicts& verdicts) {
  const Shape s = {256, 64, DType::kFloat16, 0.5};
  Bench bench(s, 2, Activations(2, s.in, s.in, s.density, s.type, 53), 0.05f);
  int taken = 0;
  const auto offer = [&](auto&& spoil) {
    SkipNeuronsArgs args = bench.Args(0, 2);
    spoil(args);
    taken += SkipNeuronsCuda(args, {}) != cudaErrorInvalidValue;
  };
  offer([](SkipNeuronsArgs& a) { a.out = 60; });
  offer([](SkipNeuronsArgs& a) { a.type = DType::kFloat32; });
  offer([](SkipNeuronsArgs& a) { a.rows = 3; });
  offer([](SkipNeuronsArgs& a) { a.rows = 0; });
  offer([](SkipNeuronsArgs& a) { a.x_stride = 260; });
  offer([](SkipNeuronsArgs& a) { a.x_stride = 248; });
  offer([](SkipNeuronsArgs& a) { a.y_stride = 56; });
  offer([](SkipNeuronsArgs& a) { a.y = nullptr; });
  offer([](SkipNeuronsArgs& a) { a.w = static_cast<const char*>(a.w) + 2; });
  verdicts.Row("bad arguments that were taken", taken, 0);
}

void CheckTwin(Verdicts& verdicts) {
  const Shape s = {8192, 264, DType::kFloat16, 0.1};
  Bench bench(s, 4, Activations(4, s.in, s.in, s.density, s.type, 59), 0.05f);
  verdicts.Row("ranges by position in the list of active neurons",
               bench.JudgeDifferences(12, 4, true), 0, false);
}

}  // namespace

void CheckSkip(Verdicts& verdicts, Extent extent) {
  constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16;
  CheckShape(verdicts, {192, 48, kHalf, 0.3}, 9);
  CheckShape(verdicts, {997, 264, kBrain, 0.05}, 9);
  CheckShape(verdicts, {2057, 8, kHalf, 0.5}, 5);
  CheckIndex(verdicts);
  CheckUnderflow(verdicts);
  CheckRefusals(verdicts);
  CheckTwin(verdicts);
  if (extent == Extent::kTiny) return;
  for (const double density : {0.0, 0.025, 0.05, 0.1, 0.5, 1.0}) {
    CheckShape(verdicts, {3072, 768, kHalf, density}, 64);
    CheckShape(verdicts, {20480, 5120, kHalf, density}, density == 0.05 ? 64 : 9);
  }
  CheckShape(verdicts, {16384, 4096, kBrain, 0.05}, 17);
  CheckShape(verdicts, {28672, 1024, kHalf, 0.05}, 9);
  CheckShape(verdicts, {36864, 520, kHalf, 0.05}, 9);  // more sections than are loaded together
}

}  // namespace pamir::gpu_test
