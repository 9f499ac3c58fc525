// The input is a header's JSON. It is parsed for files of several sizes; what is accepted must keep
// the promises that the reader stands on. As raw bytes it is also a file's beginning and an index.
#include "engine/weights/safetensors_header.h"

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/check.h"
#include "engine/weights/checkpoint_index.h"

namespace pamir::weights {
namespace {

void CheckAccepted(const std::vector<StoredTensor>& tensors, int64_t data_begin,
                   int64_t file_size) {
  for (const StoredTensor& tensor : tensors) {
    PAMIR_CHECK(data_begin <= tensor.begin && tensor.begin <= tensor.end && tensor.end <= file_size,
                "a tensor lies outside the file");
    int64_t bytes = static_cast<int64_t>(SizeOf(tensor.info.dtype));
    for (const int64_t size : tensor.info.shape) {
      if (size == 0) bytes = 0;
    }
    for (const int64_t size : tensor.info.shape) {
      if (bytes != 0) bytes *= size;
    }
    PAMIR_CHECK(bytes == tensor.end - tensor.begin, "shape x dtype is not the range");
  }
  for (size_t i = 1; i < tensors.size(); ++i) {
    PAMIR_CHECK(tensors[i - 1].name < tensors[i].name, "names are not sorted and unique");
  }
}

void Run(const std::string& bytes) {
  const int64_t data_begin = kHeaderLengthBytes + static_cast<int64_t>(bytes.size());
  for (const int64_t data_bytes : {int64_t{0}, int64_t{64}, int64_t{1} << 40}) {
    const auto parsed = ParseSafetensorsHeader(bytes, data_begin + data_bytes);
    if (parsed.ok()) CheckAccepted(*parsed, data_begin, data_begin + data_bytes);
  }
  if (bytes.size() >= kHeaderLengthBytes) {
    const int64_t size = static_cast<int64_t>(bytes.size());
    const auto length = HeaderLength(reinterpret_cast<const uint8_t*>(bytes.data()), size);
    PAMIR_CHECK(!length.ok() || *length <= size - kHeaderLengthBytes, "a header outside its file");
  }
  const auto index = ParseCheckpointIndex(bytes);
  if (!index.ok()) return;
  for (const IndexEntry& entry : *index) {
    PAMIR_CHECK(entry.shard.find('/') == std::string::npos, "an index that leaves its directory");
  }
}

}  // namespace
}  // namespace pamir::weights

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pamir::weights::Run(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
