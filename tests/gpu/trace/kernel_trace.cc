// What a GPU did when, without a change to the program: CUDA loads this library into it
// (CUDA_INJECTION64_PATH), CUPTI hands over every kernel's start and end, and at exit they are
// written as lines "start_ns,end_ns,grid,block,name" to $PAMIR_TRACE (kernel_trace.py reads them).
// Tracing takes time of its own: compare with the step time of an untraced run.

#include <cupti.h>
#include <cxxabi.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

struct Span {
  uint64_t start = 0;
  uint64_t end = 0;
  int grid = 0;
  int block = 0;
  const char* name = nullptr;
};

std::mutex mutex;
std::vector<Span> spans;

std::string Demangled(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

void CUPTIAPI GiveBuffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  *size = size_t{8} << 20;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(4096, *size));
  *max_records = 0;
}

void CUPTIAPI TakeBuffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  CUpti_Activity* record = nullptr;
  const std::lock_guard lock(mutex);
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto& kernel = *reinterpret_cast<const CUpti_ActivityKernel9*>(record);
      spans.push_back({kernel.start, kernel.end, kernel.gridX * kernel.gridY * kernel.gridZ,
                       kernel.blockX * kernel.blockY * kernel.blockZ, kernel.name});
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto& copy = *reinterpret_cast<const CUpti_ActivityMemcpy5*>(record);
      spans.push_back({copy.start, copy.end, 0, 0, "copy"});
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto& set = *reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      spans.push_back({set.start, set.end, 0, 0, "set"});
    }
  }
  std::free(buffer);
}

void Write() {
  cuptiActivityFlushAll(1);
  const char* path = std::getenv("PAMIR_TRACE");
  std::FILE* file = std::fopen(path != nullptr ? path : "kernel_trace.csv", "w");
  if (file == nullptr) return std::perror("kernel_trace");
  const std::lock_guard lock(mutex);
  std::map<const char*, std::string> names;
  for (const Span& span : spans) {
    auto [at, is_new] = names.try_emplace(span.name);
    if (is_new) at->second = Demangled(span.name);
    std::fprintf(file, "%llu,%llu,%d,%d,%s\n", static_cast<unsigned long long>(span.start),
                 static_cast<unsigned long long>(span.end), span.grid, span.block,
                 at->second.c_str());
  }
  std::fclose(file);
}

}  // namespace

// CUDA calls this once, before the program's first CUDA call returns.
extern "C" int InitializeInjection() {
  cuptiActivityRegisterCallbacks(GiveBuffer, TakeBuffer);
  for (const CUpti_ActivityKind kind : {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                        CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET}) {
    if (cuptiActivityEnable(kind) != CUPTI_SUCCESS) std::fputs("kernel_trace: no CUPTI\n", stderr);
  }
  std::atexit(Write);
  return 1;
}
