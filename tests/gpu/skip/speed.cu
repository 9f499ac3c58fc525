// fc2 with the full skip at the shapes of real models: alone, a layer after the other in one CUDA
// graph; and all four products of every layer. Beside the card's own read-only stream.
#include <string>

#include "kernels/product/product_cuda.h"
#include "tests/gpu/skip/skip_test.cuh"

namespace pamir::gpu_test {
namespace {

using namespace kernels::cuda;  // NOLINT: a test

struct Model {
  const char* name;
  int d, layers;
};

constexpr int kRowsMax = 64;

class Layers {
 public:
  explicit Layers(const Model& m)
      : m_(m),
        per_(size_t{12} * m.d * m.d),
        w_(per_ * m.layers),
        x_(size_t{kRowsMax} * m.d),
        wide_(size_t{kRowsMax} * 4 * m.d),
        h_(size_t{kRowsMax} * 4 * m.d),
        y_(size_t{kRowsMax} * m.d),
        scratch_(SkipNeuronsScratchBytes(kRowsMax, m.d, 4 * m.d)) {
    CUDA_CHECK(OpenProduct(false, &device_));
    scratch_.FillBytes(0);
    FillWeights<<<4096, 256>>>(w_.get(), w_.size(), DType::kFloat16, 0.01f);
    FillWeights<<<64, 256>>>(x_.get(), x_.size(), DType::kFloat16, 1.0f);
    CUDA_CHECK(cudaDeviceSynchronize());
    rate_ = ReadOnlyRate(w_.get(), w_.size() * 2);
  }
  ~Layers() { CloseProduct(device_); }
  Layers(const Layers&) = delete;
  Layers& operator=(const Layers&) = delete;

  // Masks of its own for each row; the share of neurons that any row needs.
  double Inputs(int rows, double density) {
    const int in = 4 * m_.d;
    const std::vector<uint16_t> h = Activations(rows, in, in, density, DType::kFloat16, 61);
    CUDA_CHECK(cudaMemcpy(h_.get(), h.data(), h.size() * 2, cudaMemcpyHostToDevice));
    int needed = 0;
    for (int i = 0; i < in; ++i) {
      bool any = false;
      for (int r = 0; r < rows; ++r) any |= h[static_cast<size_t>(r) * in + i] != 0;
      needed += any;
    }
    return needed / static_cast<double>(in);
  }

  // Bit p of `products`: qkv, out, fc1, fc2. dense: fc2 by the dense kernel, neuron-major too.
  double Ms(int rows, int products, bool dense = false) {
    return TimeGraph([&](StreamRef stream) {
      bool first = true;
      for (int layer = 0; layer < m_.layers; ++layer) {
        for (int p = 0; p < 4; ++p) {
          if ((products >> p & 1) == 0) continue;
          if (p == 3 && !dense) {
            CUDA_CHECK(SkipNeuronsCuda(SkipArgs(layer, rows, !first), stream));
          } else {
            CUDA_CHECK(GpuProduct(device_, stream, Args(layer, p, rows, !first)));
          }
          first = false;
        }
      }
    });
  }

  double rate() const { return rate_; }  // bytes a second
  double Bytes(int products, double fc2_share) const {
    const double square = 2.0 * m_.d * m_.d * m_.layers;
    return square * ((products & 1) * 3 + (products >> 1 & 1) + (products >> 2 & 1) * 4 +
                     (products >> 3 & 1) * 4 * fc2_share);
  }
  const Model& model() const { return m_; }

 private:
  GpuProductArgs Args(int layer, int product, int rows, bool overlap) const {
    const int64_t d = m_.d;
    const uint16_t* w = w_.get() + per_ * layer;
    GpuProductArgs a;
    a.rows = rows;
    a.overlap = overlap;
    a.x = product == 3 ? h_.get() : x_.get();
    a.y = wide_.get();
    const int64_t outs[] = {3 * d, d, 4 * d, d}, starts[] = {0, 3, 4, 8};
    a.w.data = w + starts[product] * d * d;
    a.w.out = outs[product];
    a.w.in = product == 3 ? 4 * d : d;
    if (product == 3) a.w.order = WeightOrder::kNeurons;
    a.x_stride = a.w.in;
    a.y_stride = a.w.out;
    return a;
  }

  SkipNeuronsArgs SkipArgs(int layer, int rows, bool overlap) const {
    SkipNeuronsArgs a;
    a.x = h_.get();
    a.rows = rows;
    a.in = a.x_stride = 4 * m_.d;
    a.w = w_.get() + per_ * layer + size_t{8} * m_.d * m_.d;
    a.out = a.y_stride = m_.d;
    a.y = y_.get();
    a.scratch = scratch_.get();
    a.scratch_rows = kRowsMax;
    a.dependent_launch = overlap;
    return a;
  }

  Model m_;
  size_t per_;
  Buffer<uint16_t> w_, x_, wide_, h_;
  Buffer<float> y_;
  Buffer<char> scratch_;
  ProductDevice* device_ = nullptr;
  double rate_ = 0;
};

void Report(Layers& l, const std::string& what, int rows, int products, double share, double ms) {
  const double bytes = l.Bytes(products, share), limit_ms = bytes / l.rate() * 1e3;
  std::printf(
      "  %-40s batch %2d: %7.3f ms, %6.2f us a layer; needed %5.1f %% of fc2, %6.2f us; %5.0f "
      "GB/s\n",
      what.c_str(), rows, ms, ms * 1e3 / l.model().layers, 100 * share,
      limit_ms * 1e3 / l.model().layers, bytes / ms * 1e-6);
}

void TimeModel(const Model& m) {
  Layers l(m);
  std::printf("%s, %d layers: read-only stream %.3f TB/s\n", m.name, m.layers, l.rate() * 1e-12);
  constexpr int kFc2 = 8, kRest = 7, kAll = 15;
  for (const int rows : {1, 4, 8}) {
    Report(l, "products but fc2", rows, kRest, 0, l.Ms(rows, kRest));
    Report(l, "all products, dense", rows, kAll, 1, l.Ms(rows, kAll, true));
    for (const double density : {0.025, 0.05, 0.1}) {
      if (rows > 1 && density != 0.05) continue;
      const double share = l.Inputs(rows, density);
      Report(l, "fc2 alone", rows, kFc2, share, l.Ms(rows, kFc2));
      Report(l, "all products", rows, kAll, share, l.Ms(rows, kAll));
    }
  }
  for (const int rows : {16, 64}) {
    const double share = l.Inputs(rows, 0.05);
    Report(l, "fc2 alone", rows, kFc2, share, l.Ms(rows, kFc2));
  }
}

}  // namespace

void TimeSkip() {
  TimeModel({"13b", 5120, 40});
  TimeModel({"6.7b", 4096, 32});
  TimeModel({"30b", 7168, 24});
}

}  // namespace pamir::gpu_test
