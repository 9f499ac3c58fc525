// A random product: weights packed through PackRows, inputs, and what the reference makes of them.
#ifndef PAMIR_TESTS_PARITY_PRODUCT_PRODUCT_CASE_H_
#define PAMIR_TESTS_PARITY_PRODUCT_PRODUCT_CASE_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/product/product.h"

namespace pamir::kernels {

struct FreeBytes {
  void operator()(void* p) const { std::free(p); }
};
using AlignedBytes = std::unique_ptr<void, FreeBytes>;

// Zeroed, 64-byte aligned; exactly `bytes` rounded up to 64, so that sanitizers see every step
// outside.
inline AlignedBytes AllocateAligned(int64_t bytes) {
  const size_t size = static_cast<size_t>((bytes + 63) / 64 * 64);
  AlignedBytes p(std::aligned_alloc(64, size));
  std::fill_n(static_cast<char*>(p.get()), size, '\0');
  return p;
}

// One row of the parity table.
struct Shape {
  DType dtype;
  WeightLayout layout;
  int64_t rows, out, in;
  double active = 1;  // share of inputs that are not zero
  bool bias = true;
  Activation activation = Activation::kNone;
  float tolerance = 0;  // largest difference allowed; 0: the same bits
};

inline std::string Describe(const Shape& s) {
  return absl::StrCat(Name(s.dtype), s.layout == WeightLayout::kPanels ? " panels" : " neurons",
                      " rows ", s.rows, " out ", s.out, " in ", s.in, " active ", s.active,
                      s.bias ? " bias" : "", " activation ", static_cast<int>(s.activation));
}

class ProductCase {
 public:
  // Gaps in the strides and poison in the outputs show what is read or written outside.
  static constexpr int64_t kGap = 3;
  static constexpr float kPoison = -12345.5f;

  explicit ProductCase(const Shape& shape, uint32_t seed = 1) : shape_(shape) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal;
    std::bernoulli_distribution active(shape.active);
    const Matrix& w = args_.w;
    args_.w = {nullptr, shape.dtype, shape.layout, shape.out, shape.in};
    weights_ = AllocateAligned(PackedBytes(w.layout, w.dtype, w.out, w.in));
    std::vector<float> source(shape.out * shape.in);
    for (float& v : source) v = normal(rng) * 0.1f;
    PackRows(w, weights_.get(), 0, w.out, source.data(), DType::kFloat32, w.in);
    args_.w.data = weights_.get();
    args_.rows = shape.rows;
    args_.x_stride = shape.in + kGap;
    args_.y_stride = shape.out + kGap;
    x_.assign(shape.rows * args_.x_stride, kPoison);
    for (int64_t r = 0; r < shape.rows; ++r) {
      for (int64_t k = 0; k < shape.in; ++k) {
        const float value = normal(rng);
        x_[r * args_.x_stride + k] = active(rng) ? value : (value < 0 ? -0.0f : 0.0f);
      }
    }
    bias_.resize(shape.out);
    for (float& b : bias_) b = normal(rng);
    args_.x = x_.data();
    args_.bias = shape.bias ? bias_.data() : nullptr;
    args_.activation = shape.activation;
  }

  const ProductArgs& args() const { return args_; }

  // y of the first `rows` rows (all where negative), with `threads` threads.
  std::vector<float> Run(Backend backend, int threads, int64_t rows = -1) const {
    ProductArgs a = args_;
    if (rows >= 0) a.rows = rows;
    std::vector<float> y(a.rows * a.y_stride, kPoison);
    a.y = y.data();
    const AlignedBytes scratch =
        AllocateAligned(ProductScratchBytes(a.rows, a.w.in, a.w.out, threads));
    a.scratch = scratch.get();
    ThreadPool pool(threads, absl::ZeroDuration());
    KernelContext context;
    context.backend = backend;
    context.pool = &pool;
    Product(context, a);
    return y;
  }

 private:
  Shape shape_;
  AlignedBytes weights_;
  std::vector<float> x_, bias_;
  ProductArgs args_;
};

}  // namespace pamir::kernels

#endif  // PAMIR_TESTS_PARITY_PRODUCT_PRODUCT_CASE_H_
