// Large products by cuBLASLt, opened at run time: the fastest of its algorithms that split no sum
// and give the bits of the own kernels.
#include <cublasLt.h>
#include <dlfcn.h>

#include <algorithm>
#include <vector>

#include "kernels/product/product_parts.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kAlgorithms = 32;  // that cuBLASLt is asked for per shape
constexpr int kTimed = 5;

// The functions of cuBLASLt that are used, by their own names.
struct LtFunctions {
  decltype(&cublasLtCreate) Create;
  decltype(&cublasLtDestroy) Destroy;
  decltype(&cublasLtMatmulDescCreate) DescCreate;
  decltype(&cublasLtMatmulDescDestroy) DescDestroy;
  decltype(&cublasLtMatmulDescSetAttribute) DescSet;
  decltype(&cublasLtMatrixLayoutCreate) LayoutCreate;
  decltype(&cublasLtMatrixLayoutDestroy) LayoutDestroy;
  decltype(&cublasLtMatmulPreferenceCreate) PreferenceCreate;
  decltype(&cublasLtMatmulPreferenceDestroy) PreferenceDestroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) PreferenceSet;
  decltype(&cublasLtMatmulAlgoGetHeuristic) Heuristic;
  decltype(&cublasLtMatmulAlgoConfigGetAttribute) ConfigGet;
  decltype(&cublasLtMatmul) Matmul;
};

template <typename F>
bool Find(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(library, name));
  return *function != nullptr;
}

bool FindAll(void* l, LtFunctions* f) {
  return Find(l, "cublasLtCreate", &f->Create) && Find(l, "cublasLtDestroy", &f->Destroy) &&
         Find(l, "cublasLtMatmulDescCreate", &f->DescCreate) &&
         Find(l, "cublasLtMatmulDescDestroy", &f->DescDestroy) &&
         Find(l, "cublasLtMatmulDescSetAttribute", &f->DescSet) &&
         Find(l, "cublasLtMatrixLayoutCreate", &f->LayoutCreate) &&
         Find(l, "cublasLtMatrixLayoutDestroy", &f->LayoutDestroy) &&
         Find(l, "cublasLtMatmulPreferenceCreate", &f->PreferenceCreate) &&
         Find(l, "cublasLtMatmulPreferenceDestroy", &f->PreferenceDestroy) &&
         Find(l, "cublasLtMatmulPreferenceSetAttribute", &f->PreferenceSet) &&
         Find(l, "cublasLtMatmulAlgoGetHeuristic", &f->Heuristic) &&
         Find(l, "cublasLtMatmulAlgoConfigGetAttribute", &f->ConfigGet) &&
         Find(l, "cublasLtMatmul", &f->Matmul);
}

// Rows are told apart by powers of two: what was chosen for 2048 serves 1025 .. 2048.
struct Key {
  int64_t out, in;
  WeightOrder order;
  DType type, y_type;
  bool relu, bias;
  int row_class;
  bool operator==(const Key&) const = default;
};

struct Choice {
  Key key;
  cublasLtMatmulAlgo_t algorithm;
};
constexpr int kMaxChoices = 256;  // shapes times row classes: a few dozen

// nvcc 13 fails on vectors of cuBLASLt's nameless structs.
struct Algorithms {
  cublasLtMatmulHeuristicResult_t result[kAlgorithms];
  int count = 0;
};

int RowClass(int64_t rows) {
  int c = 0;
  while ((int64_t{1} << c) < rows) ++c;
  return c;
}

Key KeyOf(const GpuProductArgs& a) {
  return {a.w.out,           a.w.in,
          a.w.order,         a.type,
          a.y_type,          a.activation == Activation::kRelu,
          a.bias != nullptr, RowClass(a.rows)};
}

// The bias as cuBLASLt's epilogue takes it: in y's type.
const void* LtBias(const GpuProductArgs& a) {
  return a.y_type == DType::kFloat32 ? a.bias : a.bias_in_y_type;
}

// GELU there is by tanh; y is of x's type or fp32.
bool LtCan(const GpuProductArgs& a) {
  return a.type != DType::kFloat32 && (a.y_type == a.type || a.y_type == DType::kFloat32) &&
         a.activation != Activation::kGelu && (a.bias == nullptr || LtBias(a) != nullptr) &&
         a.active_out == nullptr;
}

cudaDataType_t LtType(DType type) {
  return type == DType::kFloat32 ? CUDA_R_32F : type == DType::kFloat16 ? CUDA_R_16F : CUDA_R_16BF;
}

}  // namespace

struct LtWays {
  void* library = nullptr;
  LtFunctions f = {};
  cublasLtHandle_t handle = nullptr;
  Workspace workspace;
  Choice chosen[kMaxChoices];
  int choices = 0;

  ~LtWays() {
    if (handle != nullptr) f.Destroy(handle);
    if (library != nullptr) dlclose(library);
  }
};

void LtWaysDelete::operator()(LtWays* ways) const { delete ways; }

LtWays* OpenLt() {
  auto ways = std::make_unique<LtWays>();
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
    ways->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (ways->library != nullptr) break;
  }
  if (ways->library == nullptr || !FindAll(ways->library, &ways->f) ||
      ways->f.Create(&ways->handle) != CUBLAS_STATUS_SUCCESS) {
    return nullptr;
  }
  return ways.release();
}

namespace {

// One product in cuBLASLt's words. Column-major there: yᵀ [out, rows] = W · xᵀ.
class LtProduct {
 public:
  LtProduct(const LtWays& ways, const GpuProductArgs& a) : f_(ways.f), ways_(ways), a_(a) {
    const bool neurons = a.w.order == WeightOrder::kNeurons;
    const cudaDataType_t type = LtType(a.type), y = LtType(a.y_type);
    const void* bias = a.bias != nullptr ? LtBias(a) : nullptr;
    const bool relu = a.activation == Activation::kRelu;
    const cublasOperation_t w_op = neurons ? CUBLAS_OP_N : CUBLAS_OP_T, x_op = CUBLAS_OP_N;
    f_.DescCreate(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    Set(CUBLASLT_MATMUL_DESC_TRANSA, w_op);
    Set(CUBLASLT_MATMUL_DESC_TRANSB, x_op);
    const cublasLtEpilogue_t epilogue =
        bias != nullptr ? (relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS)
                        : (relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT);
    Set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (bias != nullptr) {
      Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
      Set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, y);
    }
    if (neurons) {
      f_.LayoutCreate(&w_, type, a.w.out, a.w.in, a.w.out);
    } else {
      f_.LayoutCreate(&w_, type, a.w.in, a.w.out, a.w.in);
    }
    f_.LayoutCreate(&x_, type, a.w.in, a.rows, a.x_stride);
    f_.LayoutCreate(&y_, y, a.w.out, a.rows, a.y_stride);
  }
  ~LtProduct() {
    f_.LayoutDestroy(w_);
    f_.LayoutDestroy(x_);
    f_.LayoutDestroy(y_);
    f_.DescDestroy(desc_);
  }
  LtProduct(const LtProduct&) = delete;

  cublasStatus_t Run(const cublasLtMatmulAlgo_t& algorithm, cudaStream_t s, void* y) const {
    const float one = 1, zero = 0;
    return f_.Matmul(ways_.handle, desc_, &one, a_.w.data, w_, a_.x, x_, &zero, y, y_, y, y_,
                     &algorithm, ways_.workspace.data, ways_.workspace.bytes, s);
  }

  void Find(Algorithms* found) const {
    cublasLtMatmulPreference_t preference;
    f_.PreferenceCreate(&preference);
    f_.PreferenceSet(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &ways_.workspace.bytes,
                     sizeof(ways_.workspace.bytes));
    if (f_.Heuristic(ways_.handle, desc_, w_, x_, y_, y_, preference, kAlgorithms, found->result,
                     &found->count) != CUBLAS_STATUS_SUCCESS) {
      found->count = 0;
    }
    f_.PreferenceDestroy(preference);
  }

 private:
  template <typename V>
  void Set(cublasLtMatmulDescAttributes_t attribute, const V& value) {
    f_.DescSet(desc_, attribute, &value, sizeof(value));
  }
  const LtFunctions& f_;
  const LtWays& ways_;
  const GpuProductArgs& a_;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
};

bool SplitsSums(const LtWays& ways, const cublasLtMatmulAlgo_t& algorithm) {
  int split = 0, scheme = 0;
  size_t written = 0;
  ways.f.ConfigGet(&algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof(split), &written);
  ways.f.ConfigGet(&algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof(scheme),
                   &written);
  return split > 1 || scheme != 0;
}

__global__ void CountDifferent(const uint32_t* a, const uint32_t* b, int64_t n, int* count) {
  int mine = 0;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    mine += a[i] != b[i];
  }
  if (mine > 0) atomicAdd(count, mine);
}

// Whether y and `reference` hold the same bits; the counter lies at the workspace's end.
bool SameBits(const GpuProductArgs& a, const void* reference, Workspace workspace, cudaStream_t s) {
  int* count = reinterpret_cast<int*>(static_cast<char*>(workspace.data) + workspace.bytes);
  int different = 1;
  const int64_t words = a.rows * a.y_stride * static_cast<int64_t>(SizeOf(a.y_type)) / 4;
  cudaMemsetAsync(count, 0, sizeof(int), s);
  CountDifferent<<<1024, 256, 0, s>>>(static_cast<const uint32_t*>(a.y),
                                      static_cast<const uint32_t*>(reference), words, count);
  cudaMemcpyAsync(&different, count, sizeof(int), cudaMemcpyDeviceToHost, s);
  return cudaStreamSynchronize(s) == cudaSuccess && different == 0;
}

template <typename F>
float MicrosecondsOf(cudaStream_t s, const F& run) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<float> times;
  for (int i = 0; i < kTimed; ++i) {
    cudaEventRecord(begin, s);
    run();
    cudaEventRecord(end, s);
    cudaEventSynchronize(end);
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    times.push_back(1000 * ms);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(times.begin(), times.end());
  return times[kTimed / 2];
}

bool Better(float candidate, float best) { return best == 0 || candidate < best; }

}  // namespace

int TuneProduct(ProductDevice* device, StreamRef stream, const GpuProductArgs& args,
                void* reference, Workspace workspace, TunedWay* result) {
  const auto s = static_cast<cudaStream_t>(stream.handle);
  *result = TunedWay{};
  if (args.rows <= kMaxStreamedRows || args.active_out != nullptr || args.norm != nullptr ||
      workspace.bytes < 512) {
    return cudaErrorInvalidValue;
  }
  workspace.bytes -= 256;  // its end holds SameBits' counter
  const auto own = [&](void* y) {
    GpuProductArgs a = args;
    a.y = y;
    if (a.type == DType::kFloat32) return LaunchFloat32(s, a);
    return device->encode == nullptr ? LaunchPlain(s, a)
                                     : LaunchStream(*device, s, a, ChooseStream(*device, a));
  };
  cudaError_t error = own(reference);
  if (error == cudaSuccess) error = cudaStreamSynchronize(s);
  if (error != cudaSuccess) return error;
  result->own_us = MicrosecondsOf(s, [&] { own(args.y); });
  if (device->lt == nullptr || !LtCan(args)) return cudaGetLastError();
  LtWays& ways = *device->lt;
  ways.workspace = workspace;
  const LtProduct product(ways, args);
  cublasLtMatmulAlgo_t best = {};
  Algorithms found;
  product.Find(&found);
  for (int i = 0; i < found.count; ++i) {
    const cublasLtMatmulAlgo_t& algorithm = found.result[i].algo;
    ++result->lt_tried;
    cudaMemcpyAsync(args.y, reference, 16, cudaMemcpyDeviceToDevice, s);
    if (product.Run(algorithm, s, args.y) != CUBLAS_STATUS_SUCCESS) continue;
    const bool exact = !SplitsSums(ways, algorithm) && SameBits(args, reference, workspace, s);
    const float us = MicrosecondsOf(s, [&] { product.Run(algorithm, s, args.y); });
    if (Better(us, result->lt_any_us)) result->lt_any_us = us;
    if (!exact) continue;
    ++result->lt_exact;
    if (Better(us, result->lt_us)) result->lt_us = us, best = algorithm;
  }
  if (result->lt_us > 0 && result->lt_us < result->own_us) {
    if (ways.choices == kMaxChoices) return cudaErrorInvalidValue;
    ways.chosen[ways.choices++] = {KeyOf(args), best};
  }
  return cudaGetLastError();
}

bool LaunchLt(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a, cudaError_t* error) {
  if (d.lt == nullptr || !LtCan(a)) return false;
  const Key key = KeyOf(a);
  const Choice* found = nullptr;
  for (int i = 0; i < d.lt->choices; ++i) {
    if (d.lt->chosen[i].key == key) found = &d.lt->chosen[i];  // the latest counts
  }
  if (found == nullptr) return false;
  const LtProduct product(*d.lt, a);
  *error = cudaSuccess;
  return product.Run(found->algorithm, s, a.y) == CUBLAS_STATUS_SUCCESS;  // else by own kernels
}

}  // namespace pamir::kernels::cuda
