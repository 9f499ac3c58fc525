// The module's table: the CUDA runtime in a few lines each, and every launch function.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

#include "kernels/cuda/cuda_api.h"

namespace pamir::kernels {
namespace {

cudaStream_t Of(StreamRef stream) { return static_cast<cudaStream_t>(stream.handle); }
cudaEvent_t EventOf(void* event) { return static_cast<cudaEvent_t>(event); }

const char* ErrorText(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

int Describe(int device, CudaDeviceFacts* facts) {
  cudaDeviceProp properties;
  cudaError_t e = cudaGetDeviceProperties(&properties, device);
  if (e == cudaSuccess) e = cudaDeviceGetPCIBusId(facts->bus_id, sizeof facts->bus_id, device);
  if (e == cudaSuccess) e = cudaDriverGetVersion(&facts->driver_version);
  if (e == cudaSuccess) e = cudaRuntimeGetVersion(&facts->runtime_version);
  if (e != cudaSuccess) return e;
  std::snprintf(facts->name, sizeof facts->name, "%s", properties.name);
  facts->capability = properties.major * 10 + properties.minor;
  facts->multiprocessors = properties.multiProcessorCount;
  facts->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  return cudaSuccess;
}

int UseDevice(int device) {
  const cudaError_t e = cudaSetDevice(device);
  return e == cudaSuccess ? cudaFree(nullptr) : e;
}

__global__ void CodeProbe() {}

int DependentLaunches(bool* possible) {
  int device = 0, major = 0;
  cudaFuncAttributes code = {};
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) {
    e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  }
  if (e == cudaSuccess) e = cudaFuncGetAttributes(&code, CodeProbe);
  *possible = e == cudaSuccess && major >= 9 && code.ptxVersion >= 90;
  return e;
}

int Memory(int64_t* free_bytes, int64_t* total_bytes) {
  size_t free = 0, total = 0;
  const cudaError_t e = cudaMemGetInfo(&free, &total);
  *free_bytes = static_cast<int64_t>(free);
  *total_bytes = static_cast<int64_t>(total);
  return e;
}

int CreateStream(StreamRef* stream) {
  cudaStream_t made = nullptr;
  const cudaError_t e = cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
  stream->handle = made;
  return e;
}

int CreateEvent(bool timed, void** event) {
  cudaEvent_t made = nullptr;
  const cudaError_t e =
      cudaEventCreateWithFlags(&made, timed ? cudaEventDefault : cudaEventDisableTiming);
  *event = made;
  return e;
}

int EventDone(void* event, bool* done) {
  const cudaError_t e = cudaEventQuery(EventOf(event));
  *done = e == cudaSuccess;
  return e == cudaErrorNotReady ? cudaSuccess : e;
}

int Copy(void* to, const void* from, int64_t bytes, StreamRef stream) {
  if (bytes == 0) return cudaSuccess;
  return cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, Of(stream));
}

int CopyRows(void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t bytes,
             int64_t rows, StreamRef stream) {
  if (bytes == 0 || rows == 0) return cudaSuccess;
  return cudaMemcpy2DAsync(to, static_cast<size_t>(to_pitch), from, static_cast<size_t>(from_pitch),
                           static_cast<size_t>(bytes), static_cast<size_t>(rows), cudaMemcpyDefault,
                           Of(stream));
}

int EndCapture(StreamRef stream, void** graph) {
  *graph = nullptr;
  cudaGraph_t captured = nullptr;
  cudaError_t e = cudaStreamEndCapture(Of(stream), &captured);
  if (e != cudaSuccess) return e;
  cudaGraphExec_t made = nullptr;
  e = cudaGraphInstantiate(&made, captured, 0);
  cudaGraphDestroy(captured);
  if (e == cudaSuccess) *graph = made;
  return e;
}

constexpr void AddRuntime(CudaApi& api) {
  api.error_text = ErrorText;
  api.device_count = [](int* count) -> int { return cudaGetDeviceCount(count); };
  api.describe = Describe;
  api.use_device = UseDevice;
  api.dependent_launches = DependentLaunches;
  api.memory = Memory;
  api.last_error = []() -> int { return cudaGetLastError(); };
  api.synchronize = []() -> int { return cudaDeviceSynchronize(); };
  api.allocate = [](int64_t bytes, void** p) -> int {
    return cudaMalloc(p, static_cast<size_t>(bytes));
  };
  api.release = [](void* p) -> int { return cudaFree(p); };
  api.allocate_pinned = [](int64_t bytes, void** p) -> int {
    return cudaHostAlloc(p, static_cast<size_t>(bytes), cudaHostAllocPortable);
  };
  api.release_pinned = [](void* p) -> int { return cudaFreeHost(p); };
  api.pin = [](void* p, int64_t bytes) -> int {
    return cudaHostRegister(p, static_cast<size_t>(bytes), cudaHostRegisterPortable);
  };
  api.unpin = [](void* p) -> int { return cudaHostUnregister(p); };
  api.create_stream = CreateStream;
  api.destroy_stream = [](StreamRef s) -> int { return cudaStreamDestroy(Of(s)); };
  api.synchronize_stream = [](StreamRef s) -> int { return cudaStreamSynchronize(Of(s)); };
  api.create_event = CreateEvent;
  api.destroy_event = [](void* e) -> int { return cudaEventDestroy(EventOf(e)); };
  api.record_event = [](void* e, StreamRef s) -> int { return cudaEventRecord(EventOf(e), Of(s)); };
  api.wait_event = [](StreamRef s, void* e) -> int {
    return cudaStreamWaitEvent(Of(s), EventOf(e), 0);
  };
  api.synchronize_event = [](void* e) -> int { return cudaEventSynchronize(EventOf(e)); };
  api.event_done = EventDone;
  api.elapsed_ms = [](void* begin, void* end, float* ms) -> int {
    return cudaEventElapsedTime(ms, EventOf(begin), EventOf(end));
  };
  api.copy = Copy;
  api.copy_rows = CopyRows;
  api.fill = [](void* to, int value, int64_t bytes, StreamRef s) -> int {
    return cudaMemsetAsync(to, value, static_cast<size_t>(bytes), Of(s));
  };
  api.begin_capture = [](StreamRef s) -> int {
    return cudaStreamBeginCapture(Of(s), cudaStreamCaptureModeThreadLocal);
  };
  api.end_capture = EndCapture;
  api.launch_graph = [](void* graph, StreamRef s) -> int {
    return cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), Of(s));
  };
  api.destroy_graph = [](void* graph) -> int {
    return cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
  };
}

constexpr void AddKernels(CudaApi& api) {
  api.embed = EmbedCuda;
  api.add_positions = AddPositionsCuda;
  api.pick_rows = PickRowsCuda;
  api.add_norm = AddNormCuda;
  api.attention_scratch_bytes = AttentionCudaScratchBytes;
  api.write_kv = WriteKvCuda;
  api.decode_attention = DecodeAttentionCuda;
  api.prefill_attention = PrefillAttentionCuda;
  api.sample = SampleCuda;
  api.token_logprobs = TokenLogprobsCuda;
  api.scatter_tokens = ScatterTokensCuda;
  api.transpose = TransposeCuda;
  api.copy_blocks = CopyBlocksCuda;
  api.rank_sum = RankSumCuda;
  api.open_product = cuda::OpenProduct;
  api.close_product = cuda::CloseProduct;
  api.product = cuda::GpuProduct;
  api.norm_prologue_fits = cuda::NormPrologueFits;
  api.tune_product = cuda::TuneProduct;
  api.skip_neurons_scratch_bytes = cuda::SkipNeuronsScratchBytes;
  api.skip_neurons = cuda::SkipNeuronsCuda;
  api.read_bandwidth = ReadBandwidthCuda;
}

constexpr CudaApi MakeApi() {
  CudaApi api = {};
  AddRuntime(api);
  AddKernels(api);
  return api;
}

}  // namespace
}  // namespace pamir::kernels

extern "C" __attribute__((visibility("default"))) const pamir::kernels::CudaApi* PamirCudaApi(
    int version) {
  static constexpr pamir::kernels::CudaApi kApi = pamir::kernels::MakeApi();
  return version == pamir::kernels::kCudaApiVersion ? &kApi : nullptr;
}
