// Which of Hopper's kernels, for which head dim.
#include "kernels/attention/attention_prefill_hopper.cuh"

namespace pamir::kernels::cuda {
namespace {

// Measured: README-cuda.md.
using Choice64 = HopperChoice<false, true, true>;
using Choice80 = HopperChoice<false, true, false>;
using Choice128 = HopperChoice<true, false, false>;

}  // namespace

int LaunchPrefillWgmma(const AttentionCudaArgs& given, const QueryTile* tiles, int64_t count,
                       int64_t context_max, StreamRef stream) {
  AttentionCudaArgs args = given;
  if (args.kv_tokens <= 0) args.kv_tokens = std::max(count * kTileQueries, context_max);
  // It stores 16 bytes at a time.
  if (args.out_stride % 8 != 0 || reinterpret_cast<uintptr_t>(args.out) % 16 != 0) {
    return LaunchPrefillMma(args, tiles, count, context_max, stream);
  }
  switch (args.kv.head_dim) {
    case 64:
      return LaunchHopper<64, Choice64>(args, tiles, count, stream);
    case 80:
      return LaunchHopper<80, Choice80>(args, tiles, count, stream);
    case 128:
      return LaunchHopper<128, Choice128>(args, tiles, count, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace pamir::kernels::cuda
