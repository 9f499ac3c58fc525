// The four products of every layer of a model as one CUDA graph, beside the card's own read-only
// stream; the ReLU skip; large row counts beside cuBLASLt.
#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

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
const Model kModels[] = {{"125m", 768, 12},
                         {"1.3b", 2048, 24},
                         {"6.7b", 4096, 32},
                         {"13b", 5120, 40},
                         {"30b", 7168, 48}};

constexpr int kMaxRows = 2048;

class Products {
 public:
  Products(ProductDevice* device, const Model& m)
      : device_(device),
        m_(m),
        per_(size_t{12} * m.d * m.d),
        w_(per_ * m.layers),
        x_(size_t{kMaxRows} * m.d),
        h_(size_t{kMaxRows} * 4 * m.d),
        y_(size_t{kMaxRows} * 4 * m.d),
        reference_(size_t{kMaxRows} * 4 * m.d),
        flags_(m.d / 4),
        scratch_flags_(m.d / 4),
        out_(1),
        workspace_(size_t{64} << 20) {
    PAMIR_CUDA_OK(cudaStreamCreate(&s_));
    Fill(w_.data, w_.count, 1, 0.01f);
    Fill(x_.data, x_.count, 2, 1);
    Inputs(1, 1);
  }

  // fc2's inputs for up to 128 rows.
  void Inputs(int rows, float density) {
    Fill(h_.data, h_.count, 3, 1);
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
    float best = 1e9;
    for (const int blocks : {528, 1056, 2112, 4224}) {
      best = std::min(best, MedianMs(s_, [&] {
                        ReadKernel<<<blocks, 512, 0, s_>>>(reinterpret_cast<uint4*>(w_.data),
                                                           w_.count / 8, out_.data);
                      }));
    }
    return best;
  }

  GpuProductArgs Args(int layer, int product, int rows, WeightOrder fc2, bool overlap) const {
    const int64_t d = m_.d;
    const __half* w = w_.data + per_ * layer;
    GpuProductArgs a;
    a.rows = rows;
    a.overlap = overlap;
    a.x = product == 3 ? h_.data : x_.data;
    a.y = y_.data;
    a.w = {w, 3 * d, d, WeightOrder::kOutputs};
    if (product == 1) a.w = {w + 3 * d * d, d, d, WeightOrder::kOutputs};
    if (product == 2) {
      a.w = {w + 4 * d * d, 4 * d, d, WeightOrder::kOutputs};
      a.relu = true;
      if (rows <= kMaxFlagRows) a.active_out = scratch_flags_.data;
    }
    if (product == 3) a.w = {w + 8 * d * d, d, 4 * d, fc2};
    a.x_stride = a.w.in;
    a.y_stride = a.w.out;
    return a;
  }

  // products: bit p set = product p is in the graph.
  // tweak: changes the chosen shape, or null.
  using Tweak = std::function<void(const GpuProductArgs&, StreamShape*)>;
  float GraphMs(int rows, const Tweak& tweak, WeightOrder fc2, bool skip, bool overlap,
                int products = 15) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    PAMIR_CUDA_OK(cudaStreamBeginCapture(s_, cudaStreamCaptureModeThreadLocal));
    bool first = true;
    for (int layer = 0; layer < m_.layers; ++layer) {
      for (int p = 0; p < 4; ++p) {
        if ((products >> p & 1) == 0) continue;
        GpuProductArgs a = Args(layer, p, rows, fc2, overlap && !first);
        if (p == 3 && skip) a.active_in = flags_.data;
        if (tweak) {
          StreamShape shape = ChooseShape(device_, a);
          tweak(a, &shape);
          PAMIR_CUDA_OK(GpuProductBy(device_, {s_}, a, &shape));
        } else {
          PAMIR_CUDA_OK(GpuProduct(device_, {s_}, a));
        }
        first = false;
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
    const char* names[] = {"qkv", "out", "fc1", "fc2"};
    float own = 0, exact = 0, any = 0, took = 0;
    for (int i = 0; i < 5; ++i) {
      const int p = std::min(i, 3);
      GpuProductArgs a =
          Args(1, p, rows, i == 4 ? WeightOrder::kNeurons : WeightOrder::kOutputs, false);
      a.active_out = nullptr;
      TunedWay way;
      PAMIR_CUDA_OK(TuneProduct(device_, {s_}, a, reference_.data,
                                {workspace_.data, workspace_.count}, &way));
      const double flop = 2.0 * rows * a.w.out * a.w.in;
      std::printf(
          "  %5d rows %s%s: own %.1f us %.0f TFLOP/s; cuBLASLt %.1f us %.0f TFLOP/s "
          "(%d of %d exact), any algorithm %.1f us\n",
          rows, names[p], i == 4 ? " neurons" : "", way.own_us, flop / way.own_us / 1e6, way.lt_us,
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
  ProductDevice* device_;
  Model m_;
  size_t per_;
  Buffer<__half> w_, x_, h_, y_, reference_;
  Buffer<uint8_t> flags_, scratch_flags_;
  Buffer<unsigned> out_;
  Buffer<char> workspace_;
  cudaStream_t s_ = nullptr;
};

const char* kNames[] = {"qkv", "out", "fc1", "fc2", "fc2 neurons"};

// Each product alone, with other sizes of blocks beside the chosen one.
template <typename Row>
void Sweep(Products& p, int rows, const Row& row) {
  for (int i = 0; i < 5; ++i) {
    const int product = std::min(i, 3);
    const WeightOrder order = i == 4 ? WeightOrder::kNeurons : WeightOrder::kOutputs;
    const double bytes = p.Bytes() * (product == 0 ? 3 : product == 1 ? 1 : 4) / 12;
    for (const int outs : {0, 40, 48, 64, 80, 128, 160, 192}) {
      if (outs != 0 && (rows < 64 || (i == 4 && outs % 64 != 0) || (i == 2 && outs % 16 != 0))) {
        continue;
      }
      const auto tweak = [&](const GpuProductArgs& a, StreamShape* s) {
        if (outs == 0) return;
        s->outs = outs;
        s->stages = StagesThatFit(a, outs);
      };
      char what[64];
      std::snprintf(what, sizeof(what), "%s alone, %d outputs a block", kNames[i], outs);
      row(what, rows, p.GraphMs(rows, tweak, order, false, true, 1 << product), bytes);
    }
  }
}

void Run(ProductDevice* device, const Model& m, bool variants) {
  Products p(device, m);
  const float stream = p.StreamMs();
  std::printf("%s: %.2f GB of weights, read-only stream %.3f TB/s = %.3f ms\n", m.name,
              p.Bytes() / 1e9, p.Bytes() / stream / 1e9, stream);
  const auto row = [&](const char* what, int rows, float ms, double bytes) {
    std::printf("  %-44s batch %4d: %7.3f ms, dense floor / time %.3f, %.3f TB/s of bytes needed\n",
                what, rows, ms, stream / ms, bytes / ms / 1e9);
  };
  const WeightOrder outputs = WeightOrder::kOutputs, neurons = WeightOrder::kNeurons;
  row("dense, no overlap", 1, p.GraphMs(1, nullptr, outputs, false, false), p.Bytes());
  row("dense", 1, p.GraphMs(1, nullptr, outputs, false, true), p.Bytes());
  row("dense, fc2 neuron-major", 1, p.GraphMs(1, nullptr, neurons, false, true), p.Bytes());
  for (const int kilobytes : {48, 72, 110, 220}) {
    for (const float allow : {0.0f, 0.98f}) {
      for (const int factor : {1, 2, 4}) {
        const auto tweak = [&](const GpuProductArgs& a, StreamShape* t) {
          t->outs = (t->outs * factor + 15) / 16 * 16;
          t->stages = std::min(std::max(2, kilobytes * 1024 / ((t->outs + 8) * 128)),
                               StagesThatFit(a, t->outs));
          t->allow = allow;
        };
        if (m.d * factor > 3 * 2048) continue;
        char what[64];
        std::snprintf(what, sizeof(what), "ring of %d kB, %d x the outputs, next at %.2f",
                      kilobytes, factor, allow);
        row(what, 1, p.GraphMs(1, tweak, outputs, false, true), p.Bytes());
      }
    }
  }
  if (!variants) return;
  for (const int rows : {2, 4, 8, 16, 32, 48, 64, 96, 128}) {
    row("dense", rows, p.GraphMs(rows, nullptr, outputs, false, true), p.Bytes());
    row("dense, fc2 neuron-major", rows, p.GraphMs(rows, nullptr, neurons, false, true), p.Bytes());
  }
  for (const int rows : {1}) Sweep(p, rows, row);
  for (const int rows : {1, 8}) {
    for (const float density : {1.0f, 0.5f, 0.1f, 0.05f, 0.025f}) {
      p.Inputs(rows, density);
      const double groups = p.ActiveGroups();
      char what[64];
      std::snprintf(what, sizeof(what), "skip, %.1f %% active, groups %.1f %%", 100 * density,
                    100 * groups);
      row(what, rows, p.GraphMs(rows, nullptr, neurons, true, true),
          p.Bytes() - (1 - groups) * p.Fc2Bytes());
    }
  }
  p.Inputs(1, 1);
  for (const int rows : {128, 256, 512, 2048}) p.Tune(rows);
  for (const int rows : {96, 128}) {
    row("dense, tuned with cuBLASLt", rows, p.GraphMs(rows, nullptr, outputs, false, true),
        p.Bytes());
  }
}

}  // namespace

int Speed(ProductDevice* device, int argc, char** argv) {
  bool any = false;
  for (const Model& m : kModels) {
    for (int i = 0; i < argc; ++i) {
      if (std::strcmp(argv[i], m.name) == 0)
        Run(device, m, std::strcmp(m.name, "13b") == 0), any = true;
    }
  }
  if (!any) Run(device, kModels[3], true);
  return 0;
}

}  // namespace pamir::gpu_test
