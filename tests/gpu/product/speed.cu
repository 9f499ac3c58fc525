// The four products of every layer of a model as one CUDA graph, beside the card's own read-only
// stream; the ReLU skip; large row counts beside cuBLASLt.
#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/norm/norm_cuda.h"
#include "tests/gpu/product/product_test.cuh"

namespace pamir::gpu_test {
namespace {

using namespace kernels::cuda;  // NOLINT: a test

constexpr int kRuns = 9;

float MedianMs(cudaStream_t s, const std::function<void()>& run, int runs = kRuns) {
  cudaEvent_t begin, end;
  PAMIR_CUDA_OK(cudaEventCreate(&begin));
  PAMIR_CUDA_OK(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < runs + 2; ++i) {
    PAMIR_CUDA_OK(cudaEventRecord(begin, s));
    run();
    PAMIR_CUDA_OK(cudaEventRecord(end, s));
    PAMIR_CUDA_OK(cudaEventSynchronize(end));
    float ms = 0;
    PAMIR_CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 2) times.push_back(ms);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

__device__ uint4 Stream16(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}

__global__ void ReadKernel(const uint4* p, size_t n, unsigned* out) {
  uint4 a = {};
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i + 3 * step < n; i += 4 * step) {
    uint4 v[4];
    for (int u = 0; u < 4; ++u) v[u] = Stream16(p + i + u * step);
    for (int u = 0; u < 4; ++u) a.x ^= v[u].x, a.y ^= v[u].y, a.z ^= v[u].z, a.w ^= v[u].w;
  }
  if ((a.x ^ a.y ^ a.z ^ a.w) == 0x12345) *out = 1;
}

struct Model {
  const char* name;
  int d, layers;
};
const Model kModels[] = {{"125m", 768, 12},  {"350m", 1024, 24}, {"1.3b", 2048, 24},
                         {"2.7b", 2560, 32}, {"6.7b", 4096, 32}, {"13b", 5120, 40},
                         {"30b", 7168, 48}};

constexpr int kMaxRows = 2048;
constexpr int kAllProducts = 15;

// Whether the two norms of a layer are in the graph: not at all, launched before qkv and fc1, or
// made by these.
enum class Norms { kNone, kApart, kWithin };

struct Graph {
  int rows = 1;
  WeightOrder fc2 = WeightOrder::kOutputs;
  bool skip = false;
  bool overlap = true;
  Norms norms = Norms::kNone;
  int products = kAllProducts;  // bit p set: product p is in the graph
};

const char* kNames[] = {"qkv", "out", "fc1", "fc2"};

class Products {
 public:
  Products(ProductDevice* device, const Model& m)
      : device_(device),
        m_(m),
        per_(size_t{12} * m.d * m.d),
        w_(per_ * m.layers),
        x_(size_t{kMaxRows} * m.d),
        residual_(size_t{kMaxRows} * m.d),
        residual2_(size_t{kMaxRows} * m.d),
        delta_(size_t{kMaxRows} * m.d),
        vectors_(size_t{8} * m.d),
        half_bias_(size_t{4} * m.d),
        h_(size_t{kMaxRows} * 4 * m.d),
        y_(size_t{kMaxRows} * 4 * m.d),
        reference_(size_t{kMaxRows} * 4 * m.d),
        flags_(m.d / 4),
        scratch_flags_(m.d / 4),
        out_(1),
        workspace_(size_t{64} << 20) {
    PAMIR_CUDA_OK(cudaStreamCreate(&s_));
    Fill(w_.data, DType::kFloat16, w_.count, 1, 0.01f);
    Fill(x_.data, DType::kFloat16, x_.count, 2, 1);
    Fill(residual_.data, DType::kFloat32, residual_.count, 6, 1);
    Fill(delta_.data, DType::kFloat32, delta_.count, 7, 1);
    Fill(half_bias_.data, DType::kFloat16, half_bias_.count, 8, 0.1f);
    std::vector<uint16_t> half(half_bias_.count);
    std::vector<float> vectors(vectors_.count, 1.0f);
    PAMIR_CUDA_OK(
        cudaMemcpy(half.data(), half_bias_.data, 2 * half.size(), cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < half.size(); ++i) vectors[i] = Load(half.data(), DType::kFloat16, i);
    PAMIR_CUDA_OK(
        cudaMemcpy(vectors_.data, vectors.data(), 4 * vectors.size(), cudaMemcpyHostToDevice));
    Inputs(1, 1);
  }

  // fc2's inputs for up to 128 rows.
  void Inputs(int rows, float density) {
    Fill(h_.data, DType::kFloat16, h_.count, 3, 1);
    PAMIR_CUDA_OK(cudaMemset(flags_.data, 0, flags_.count));
    MaskKernel<<<256, 256>>>(h_.data, rows, 4 * m_.d, 5, density, flags_.data);
    PAMIR_CUDA_OK(cudaDeviceSynchronize());
  }

  double ActiveGroups() {
    std::vector<uint8_t> f(flags_.count);
    PAMIR_CUDA_OK(cudaMemcpy(f.data(), flags_.data, f.size(), cudaMemcpyDeviceToHost));
    return std::count(f.begin(), f.end(), 1) / static_cast<double>(f.size());
  }

  double Bytes() const { return 2.0 * w_.count; }
  double Fc2Bytes() const { return 8.0 * m_.d * m_.d * m_.layers; }

  float StreamMs() {
    const auto* w = reinterpret_cast<uint4*>(w_.data);
    float best = 1e9;
    for (const int blocks : {528, 1056, 2112, 4224}) {
      const auto read = [&] { ReadKernel<<<blocks, 512, 0, s_>>>(w, w_.count / 8, out_.data); };
      best = std::min(best, MedianMs(s_, read));
    }
    return best;
  }

  // As the engine calls them: biases in qkv and fc1, fp32 out of those whose bias the norm adds.
  GpuProductArgs Args(int layer, int product, const Graph& g) const {
    const int64_t d = m_.d;
    const uint16_t* w = w_.data + per_ * layer;
    GpuProductArgs a;
    a.rows = g.rows;
    a.overlap = g.overlap;
    a.x = product == 3 ? h_.data : x_.data;
    a.y = y_.data;
    a.w = {w, 3 * d, d, WeightOrder::kOutputs};
    if (product == 1) a.w = {w + 3 * d * d, d, d, WeightOrder::kOutputs};
    if (product == 2) {
      a.w = {w + 4 * d * d, 4 * d, d, WeightOrder::kOutputs};
      a.activation = kernels::Activation::kRelu;
      if (g.skip && g.rows <= kMaxFlagRows) a.active_out = scratch_flags_.data;
    }
    if (product == 3) a.w = {w + 8 * d * d, d, 4 * d, g.fc2};
    if (product % 2 == 0) a.bias = vectors_.data, a.bias_in_y_type = half_bias_.data;
    if (product % 2 == 1) a.y_type = DType::kFloat32;
    if (product == 3 && g.skip) a.active_in = flags_.data;
    a.x_stride = a.w.in;
    a.y_stride = a.w.out;
    return a;
  }

  NormPrologue Prologue(int product) const {
    NormPrologue n;
    n.x = product == 0 ? residual_.data : residual2_.data;
    n.x_out = product == 0 ? residual2_.data : residual_.data;
    n.delta = delta_.data;
    n.delta_bias = n.gamma = n.beta = vectors_.data;
    return n;
  }

  void Norm(const Graph& g, bool overlap) const {
    kernels::NormCudaArgs n;
    n.rows = g.rows, n.width = m_.d;
    n.x = residual_.data, n.delta = delta_.data, n.delta_type = DType::kFloat32;
    n.bias = n.gamma = n.beta = vectors_.data;
    n.y = x_.data;
    n.dependent_launch = overlap;
    PAMIR_CUDA_OK(kernels::AddNormCuda(n, {s_}));
  }

  // tweak: changes the chosen shape, or null.
  using Tweak = std::function<void(const GpuProductArgs&, StreamShape*)>;
  float GraphMs(const Graph& g, const Tweak& tweak = nullptr) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    PAMIR_CUDA_OK(cudaStreamBeginCapture(s_, cudaStreamCaptureModeThreadLocal));
    int launched = 0;
    for (int layer = 0; layer < m_.layers; ++layer) {
      for (int p = 0; p < 4; ++p) {
        if ((g.products >> p & 1) != 0) Enqueue(g, layer, p, tweak, &launched);
      }
    }
    PAMIR_CUDA_OK(cudaStreamEndCapture(s_, &graph));
    PAMIR_CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
    const float ms = MedianMs(s_, [&] { PAMIR_CUDA_OK(cudaGraphLaunch(exec, s_)); });
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    return ms;
  }

  void Tune(int rows) {
    float own = 0, exact = 0, any = 0, took = 0;
    for (int i = 0; i < 5; ++i) {
      const int p = std::min(i, 3);
      Graph g;
      g.rows = rows, g.overlap = false;
      if (i == 4) g.fc2 = WeightOrder::kNeurons;
      GpuProductArgs a = Args(1, p, g);
      TunedWay way;
      PAMIR_CUDA_OK(TuneProduct(device_, {s_}, a, reference_.data,
                                {workspace_.data, workspace_.count}, &way));
      const double flop = 2.0 * rows * a.w.out * a.w.in;
      std::printf(
          "  %5d rows %s%s: own %.1f us %.0f TFLOP/s; cuBLASLt %.1f us %.0f TFLOP/s "
          "(%d of %d exact), any algorithm %.1f us\n",
          rows, kNames[p], i == 4 ? " neurons" : "", way.own_us, flop / way.own_us / 1e6, way.lt_us,
          way.lt_us > 0 ? flop / way.lt_us / 1e6 : 0.0, way.lt_exact, way.lt_tried, way.lt_any_us);
      if (i == 3) continue;
      own += way.own_us, exact += way.lt_us, any += way.lt_any_us;
      took += way.lt_us > 0 ? std::min(way.own_us, way.lt_us) : way.own_us;
    }
    std::printf(
        "  %5d rows, a layer: own %.0f us, exact cuBLASLt %.0f, any cuBLASLt %.0f, chosen "
        "%.0f\n",
        rows, own, exact, any, took);
  }

 private:
  void Enqueue(const Graph& g, int layer, int product, const Tweak& tweak, int* launched) {
    GpuProductArgs a = Args(layer, product, g);
    const NormPrologue prologue = Prologue(product);
    if (product % 2 == 0 && g.norms == Norms::kWithin) a.norm = &prologue;
    if (product % 2 == 0 && g.norms == Norms::kApart) Norm(g, g.overlap && (*launched)++ > 0);
    a.overlap = g.overlap && (*launched)++ > 0;
    if (!tweak) {
      PAMIR_CUDA_OK(GpuProduct(device_, {s_}, a));
      return;
    }
    StreamShape shape = ChooseShape(device_, a);
    tweak(a, &shape);
    PAMIR_CUDA_OK(GpuProductBy(device_, {s_}, a, &shape));
  }

  ProductDevice* device_;
  Model m_;
  size_t per_;
  Buffer<uint16_t> w_, x_;
  Buffer<float> residual_, residual2_, delta_, vectors_;
  Buffer<uint16_t> half_bias_, h_;
  Buffer<float> y_, reference_;
  Buffer<uint8_t> flags_, scratch_flags_;
  Buffer<unsigned> out_;
  Buffer<char> workspace_;
  cudaStream_t s_ = nullptr;
};

class Table {
 public:
  Table(Products& p, const char* model) : p_(p), stream_(p.StreamMs()) {
    std::printf("%s: %.2f GB of weights, read-only stream %.3f TB/s = %.3f ms\n", model,
                p.Bytes() / 1e9, p.Bytes() / stream_ / 1e9, stream_);
  }
  void Row(const std::string& what, const Graph& g, const Products::Tweak& tweak = nullptr,
           double bytes = 0) {
    const float ms = p_.GraphMs(g, tweak);
    if (bytes == 0) bytes = p_.Bytes();
    std::printf("  %-44s batch %4d: %7.3f ms, dense floor / time %.3f, %.3f TB/s of bytes needed\n",
                what.c_str(), g.rows, ms, stream_ / ms, bytes / ms / 1e9);
  }

 private:
  Products& p_;
  float stream_;
};

std::string Words(const char* format, double a, double b, double c) {
  char text[96];
  std::snprintf(text, sizeof(text), format, a, b, c);
  return text;
}

// Other stages, rings and times for the next kernel to start.
void Rings(Table& table, const Graph& g) {
  for (const int stage : {8, 16, 24}) {
    for (const int ring : {72, 112, 140, 216}) {
      for (const float allow : {0.0f, 0.98f}) {
        const auto tweak = [&](const GpuProductArgs& a, StreamShape* t) {
          t->chunks = std::clamp(stage * 1024 / (t->outs * 128), 1, 8);
          t->stages = std::clamp(StagesThatFit(a, t->outs, t->chunks, ring * 1024), 2,
                                 StagesThatFit(a, t->outs, t->chunks));
          t->allow = allow;
        };
        table.Row(Words("stages of %2.0f kB, ring %3.0f kB, next at %.2f", stage, ring, allow), g,
                  tweak);
      }
    }
  }
}

void Small(Table& table) {
  for (const int rows : {1, 2, 4, 8}) {
    Graph g;
    g.rows = rows;
    table.Row("products alone", g);
    g.norms = Norms::kApart;
    table.Row("with norms", g);
    g.norms = Norms::kWithin;
    if (rows <= 2) table.Row("with norms within", g);
    g.norms = Norms::kNone, g.fc2 = WeightOrder::kNeurons;
    table.Row("products alone, fc2 neuron-major", g);
  }
}

void Skips(Table& table, Products& p) {
  for (const int rows : {1, 8}) {
    for (const float density : {1.0f, 0.5f, 0.1f, 0.05f, 0.025f}) {
      p.Inputs(rows, density);
      const double groups = p.ActiveGroups();
      Graph g;
      g.rows = rows, g.fc2 = WeightOrder::kNeurons, g.skip = true;
      table.Row(Words("skip, %.1f %% active, groups %.1f %%", 100 * density, 100 * groups, 0), g,
                nullptr, p.Bytes() - (1 - groups) * p.Fc2Bytes());
    }
  }
  p.Inputs(1, 1);
}

void Large(Table& table, Products& p) {
  for (const int rows : {16, 32, 48, 64, 96, 128}) {
    Graph g;
    g.rows = rows;
    table.Row("dense", g);
    g.fc2 = WeightOrder::kNeurons;
    table.Row("dense, fc2 neuron-major", g);
  }
  Skips(table, p);
  for (const int rows : {128, 256, 512, 2048}) p.Tune(rows);
  for (const int rows : {96, 128}) {
    Graph g;
    g.rows = rows;
    table.Row("dense, tuned with cuBLASLt", g);
  }
}

void Run(ProductDevice* device, const Model& m) {
  Products p(device, m);
  Table table(p, m.name);
  Graph g;
  g.overlap = false;
  table.Row("dense, no overlap", g);
  g.overlap = true;
  table.Row("dense", g);
  if (m.d > 2560) {
    Large(table, p);
    return;
  }
  Small(table);
  for (int product = 0; product < 4; ++product) {
    Graph one;
    one.products = 1 << product;
    table.Row(std::string(kNames[product]) + " alone", one, nullptr,
              p.Bytes() *
                  (product == 0   ? 3
                   : product == 1 ? 1
                                  : 4) /
                  12);
  }
  for (const Norms norms : {Norms::kNone, Norms::kApart, Norms::kWithin}) {
    std::printf("%s\n", norms == Norms::kNone    ? " products alone"
                        : norms == Norms::kApart ? " with norms"
                                                 : " with norms within");
    g.norms = norms;
    Rings(table, g);
  }
}

}  // namespace

int Speed(ProductDevice* device, int argc, char** argv) {
  bool any = false;
  for (const Model& m : kModels) {
    for (int i = 0; i < argc; ++i) {
      if (std::strcmp(argv[i], m.name) == 0) Run(device, m), any = true;
    }
  }
  if (!any) Run(device, {"13b", 5120, 40});
  return 0;
}

}  // namespace pamir::gpu_test
