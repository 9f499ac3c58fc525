// The GPU back end as one table of plain functions. It lives in a module (pamir_cuda.so) that the
// program opens at run time, so that the same program starts where no driver is: engine/device
// opens it. Only the module links CUDA; what is missing there becomes a message, not a loader's
// error.
//
// Functions return 0 or a cudaError_t unless they say otherwise; error_text explains it. An error
// that a kernel caused shows at the next call and stays: the device is lost to this process.
#ifndef PAMIR_KERNELS_CUDA_CUDA_API_H_
#define PAMIR_KERNELS_CUDA_CUDA_API_H_

#include <cstdint>

#include "base/stream.h"
#include "kernels/attention/attention_cuda.h"
#include "kernels/bandwidth/bandwidth_cuda.h"
#include "kernels/convert/convert_cuda.h"
#include "kernels/embedding/embedding_cuda.h"
#include "kernels/norm/norm_cuda.h"
#include "kernels/product/product_cuda.h"
#include "kernels/product/skip_neurons_cuda.h"
#include "kernels/sample/sample_cuda.h"

namespace pamir::kernels {

struct CudaDeviceFacts {
  char name[128] = "";
  char bus_id[32] = "";  // "0000:1b:00.0": tells whether two ranks share a device
  int capability = 0;    // 90 for 9.0
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int driver_version = 0;   // 12040 for CUDA 12.4: the newest that the driver knows
  int runtime_version = 0;  // that the module was built with
};

// Grows with every change of this header or of what it includes.
inline constexpr int kCudaApiVersion = 4;

struct CudaApi {
  const char* (*error_text)(int error);

  // Devices. All but the first two concern the calling thread's current device.
  int (*device_count)(int* count);
  int (*describe)(int device, CudaDeviceFacts* facts);
  int (*use_device)(int device);  // starts it up (its context): a second or less
  // Whether kernels may be launched before their predecessors end: the device can (9.0), and the
  // code it runs awaits them (code of a lower architecture, run there from its PTX, does not).
  int (*dependent_launches)(bool* possible);
  int (*memory)(int64_t* free_bytes, int64_t* total_bytes);
  int (*last_error)();  // of kernels enqueued before; sticky ones stay
  int (*synchronize)();

  int (*allocate)(int64_t bytes, void** device_memory);
  int (*release)(void* device_memory);
  int (*allocate_pinned)(int64_t bytes, void** host_memory);
  int (*release_pinned)(void* host_memory);
  int (*pin)(void* host_memory, int64_t bytes);  // pages of somebody else's memory
  int (*unpin)(void* host_memory);

  int (*create_stream)(StreamRef* stream);  // does not wait for the default stream
  int (*destroy_stream)(StreamRef stream);
  int (*synchronize_stream)(StreamRef stream);
  int (*create_event)(bool timed, void** event);
  int (*destroy_event)(void* event);
  int (*record_event)(void* event, StreamRef stream);
  int (*wait_event)(StreamRef stream, void* event);  // the stream waits
  int (*synchronize_event)(void* event);             // the caller waits
  int (*event_done)(void* event, bool* done);
  int (*elapsed_ms)(void* begin, void* end, float* milliseconds);

  // Queued on the stream; either side may be device or pinned host memory.
  int (*copy)(void* to, const void* from, int64_t bytes, StreamRef stream);
  // `rows` pieces of `bytes`, from one pitch to another.
  int (*copy_rows)(void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t bytes,
                   int64_t rows, StreamRef stream);
  int (*fill)(void* to, int value, int64_t bytes, StreamRef stream);

  // What is launched between the two becomes a graph that can be launched again and again.
  int (*begin_capture)(StreamRef stream);
  int (*end_capture)(StreamRef stream, void** graph);  // null and an error where it cannot be one
  int (*launch_graph)(void* graph, StreamRef stream);
  int (*destroy_graph)(void* graph);

  decltype(&EmbedCuda) embed;
  decltype(&AddPositionsCuda) add_positions;
  decltype(&PickRowsCuda) pick_rows;
  decltype(&AddNormCuda) add_norm;
  decltype(&AttentionCudaScratchBytes) attention_scratch_bytes;
  decltype(&WriteKvCuda) write_kv;
  decltype(&DecodeAttentionCuda) decode_attention;
  decltype(&PrefillAttentionCuda) prefill_attention;
  decltype(&SampleCuda) sample;
  decltype(&TokenLogprobsCuda) token_logprobs;
  decltype(&ScatterTokensCuda) scatter_tokens;
  decltype(&TransposeCuda) transpose;
  decltype(&CopyBlocksCuda) copy_blocks;
  decltype(&RankSumCuda) rank_sum;
  decltype(&cuda::OpenProduct) open_product;
  decltype(&cuda::CloseProduct) close_product;
  decltype(&cuda::GpuProduct) product;
  decltype(&cuda::NormPrologueFits) norm_prologue_fits;
  decltype(&cuda::TuneProduct) tune_product;
  decltype(&cuda::SkipNeuronsScratchBytes) skip_neurons_scratch_bytes;
  decltype(&cuda::SkipNeuronsCuda) skip_neurons;
  decltype(&ReadBandwidthCuda) read_bandwidth;
};

// The module's one exported symbol, with C linkage: the table, or null where the module was built
// from another version of this header.
inline constexpr char kCudaApiSymbol[] = "PamirCudaApi";
using GetCudaApi = const CudaApi* (*)(int version);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_CUDA_CUDA_API_H_
