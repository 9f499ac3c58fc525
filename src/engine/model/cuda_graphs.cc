#include "engine/model/cuda_graphs.h"

#include <algorithm>

#include "base/status_macros.h"

namespace pamir::model {

// Steps of a third to a half: padding rows cost little beside the weights that all rows share.
std::vector<int64_t> GraphLadder(int64_t most) {
  std::vector<int64_t> sizes;
  for (const int64_t size : {1, 2, 3, 4, 6, 8}) {
    if (size < most) sizes.push_back(size);
  }
  for (int64_t step = 4, size = 12; size < most; size += step) {
    sizes.push_back(size);
    if (size == 4 * step) step *= 2;  // 12, 16, 24, 32, 48, 64, 96, 128, ...
  }
  sizes.push_back(most);
  return sizes;
}

absl::Status DecodeGraphs::Capture(const device::CudaDevice& device, StreamRef stream, int64_t rows,
                                   const std::function<absl::Status()>& enqueue) {
  const kernels::CudaApi& api = device.api();
  PAMIR_RETURN_IF_ERROR(enqueue());
  PAMIR_RETURN_IF_ERROR(device.Check(api.synchronize_stream(stream), "try a decode step"));
  PAMIR_RETURN_IF_ERROR(device.Check(api.begin_capture(stream), "capture a decode step"));
  const absl::Status enqueued = enqueue();
  void* graph = nullptr;
  const int error = api.end_capture(stream, &graph);
  PAMIR_RETURN_IF_ERROR(enqueued);
  PAMIR_RETURN_IF_ERROR(device.Check(error, "capture a decode step"));
  graphs_.push_back({rows, device::CudaGraph(device, graph)});
  return absl::OkStatus();
}

int64_t DecodeGraphs::RowsFor(int64_t rows) const {
  for (const Entry& entry : graphs_) {
    if (entry.rows >= rows) return entry.rows;
  }
  return 0;
}

absl::Status DecodeGraphs::Launch(const device::CudaDevice& device, StreamRef stream,
                                  int64_t rows) const {
  const auto at = std::find_if(graphs_.begin(), graphs_.end(),
                               [&](const Entry& entry) { return entry.rows == rows; });
  if (at == graphs_.end()) return absl::InternalError("no graph of so many rows");
  return device.Check(device.api().launch_graph(at->graph.get(), stream), "launch a decode step");
}

}  // namespace pamir::model
