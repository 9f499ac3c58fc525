// Decode steps captured as CUDA graphs, for a ladder of batch sizes.
#ifndef PAMIR_ENGINE_MODEL_CUDA_GRAPHS_H_
#define PAMIR_ENGINE_MODEL_CUDA_GRAPHS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "engine/device/cuda_device.h"

namespace pamir::model {

// Batch sizes up to `most`, which is one of them: a batch runs as the next larger one.
std::vector<int64_t> GraphLadder(int64_t most);

class DecodeGraphs {
 public:
  // `enqueue` launches a decode step of so many rows on `stream`; more rows than captured before.
  // It is run once outside a capture first, since kernels that are loaded lazily cannot be loaded
  // inside one.
  absl::Status Capture(const device::CudaDevice& device, StreamRef stream, int64_t rows,
                       const std::function<absl::Status()>& enqueue);

  // The rows of the graph that serves `rows`, or 0 where there is none.
  int64_t RowsFor(int64_t rows) const;
  // Of a graph's own number of rows.
  absl::Status Launch(const device::CudaDevice& device, StreamRef stream, int64_t rows) const;
  int size() const { return static_cast<int>(graphs_.size()); }

 private:
  struct Entry {
    int64_t rows = 0;
    device::CudaGraph graph;
  };
  std::vector<Entry> graphs_;  // ascending
};

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_CUDA_GRAPHS_H_
