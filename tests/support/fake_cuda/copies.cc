// Copies and fills: which side is whose, and that device and pinned memory hold what is asked of
// them. Memory of the host that is not pinned behaves as in CUDA: read when the copy is enqueued,
// written before the call returns, and forbidden in a capture.
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "support/fake_cuda/runtime.h"
#include "support/fake_cuda/state.h"

namespace pamir::testing {
namespace {

struct Copy {
  char* to = nullptr;
  int64_t to_pitch = 0;
  const char* from = nullptr;
  int64_t from_pitch = 0;
  int64_t bytes = 0;  // of a row
  int64_t rows = 1;

  int64_t ToSpan() const { return (rows - 1) * to_pitch + bytes; }
  int64_t FromSpan() const { return (rows - 1) * from_pitch + bytes; }
  void Run() const {
    for (int64_t r = 0; r < rows; ++r) {
      std::memmove(to + r * to_pitch, from + r * from_pitch, static_cast<size_t>(bytes));
    }
  }
};

enum class Side { kDevice, kPinned, kPageable };

Side SideOf(const char* name, const char* argument, const void* data, int64_t bytes) {
  const auto block = FakeState::Current().memory.Find(data);
  if (!block.has_value()) return Side::kPageable;
  if (block->kind == FakeMemory::Kind::kDevice) return Side::kDevice;
  PAMIR_CHECK(bytes <= block->bytes - (static_cast<const char*>(data) - block->data),
              absl::StrCat(std::string(name), ": ", std::string(argument), " (", bytes,
                           " bytes) passes the end of its ", std::string(Name(block->kind))));
  return Side::kPinned;
}

Work::Kind KindOf(Side from, Side to) {
  if (to == Side::kDevice) {
    return from == Side::kDevice ? Work::Kind::kCopyWithin : Work::Kind::kCopyToDevice;
  }
  return Work::Kind::kCopyToHost;
}

int Enqueue(const char* name, Copy copy, StreamRef stream) {
  FakeState& state = FakeState::Current();
  if (copy.bytes == 0 || copy.rows == 0) return state.Return(0);
  if (copy.bytes < 0 || copy.rows < 0 || copy.to_pitch < copy.bytes ||
      copy.from_pitch < copy.bytes) {
    return state.Return(kInvalidValue);
  }
  const Side from = SideOf(name, "from", copy.from, copy.FromSpan());
  const Side to = SideOf(name, "to", copy.to, copy.ToSpan());
  PAMIR_CHECK(from == Side::kDevice || to == Side::kDevice,
              absl::StrCat(std::string(name), ": neither side is live device memory"));
  const bool pageable = from == Side::kPageable || to == Side::kPageable;
  if (pageable && state.IsCaptured(stream)) return state.Return(state.BreakCapture(stream));
  Work work;
  work.name = name;
  work.kind = KindOf(from, to);
  work.bytes = copy.bytes * copy.rows;
  if (from == Side::kDevice) work.ranges.push_back({"from", copy.from, copy.FromSpan()});
  if (to == Side::kDevice) work.ranges.push_back({"to", copy.to, copy.ToSpan()});
  std::shared_ptr<std::vector<char>> staged;
  if (from == Side::kPageable && state.options.queued) {
    staged = std::make_shared<std::vector<char>>(copy.from, copy.from + copy.FromSpan());
    copy.from = staged->data();
  }
  work.run = [copy, staged] { copy.Run(); };
  const int error = state.Enqueue(stream, std::move(work));
  if (to == Side::kPageable) state.FinishStream(stream);
  return state.Return(error);
}

int Fill(void* to, int value, int64_t bytes, StreamRef stream) {
  FakeState& state = FakeState::Current();
  if (bytes == 0) return state.Return(0);
  Work work;
  work.name = "fill";
  work.kind = Work::Kind::kFill;
  work.ranges.push_back({"to", to, bytes});
  work.run = [to, value, bytes] { std::memset(to, value, static_cast<size_t>(bytes)); };
  return state.Return(state.Enqueue(stream, std::move(work)));
}

}  // namespace

void FillCopies(kernels::CudaApi* api) {
  api->copy = [](void* to, const void* from, int64_t bytes, StreamRef stream) {
    return Enqueue("copy",
                   {static_cast<char*>(to), bytes, static_cast<const char*>(from), bytes, bytes, 1},
                   stream);
  };
  api->copy_rows = [](void* to, int64_t to_pitch, const void* from, int64_t from_pitch,
                      int64_t bytes, int64_t rows, StreamRef stream) {
    return Enqueue(
        "copy_rows",
        {static_cast<char*>(to), to_pitch, static_cast<const char*>(from), from_pitch, bytes, rows},
        stream);
  };
  api->fill = Fill;
}

}  // namespace pamir::testing
