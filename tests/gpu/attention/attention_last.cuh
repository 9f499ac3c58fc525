// The last tokens of a case's rows as a decode step has them, and a chain of such steps whose qkv
// comes late.
#ifndef PAMIR_TESTS_GPU_ATTENTION_ATTENTION_LAST_CUH_
#define PAMIR_TESTS_GPU_ATTENTION_ATTENTION_LAST_CUH_

#include <cstring>

#include "attention/attention_case.cuh"
#include "kernels/attention/attention_kernels.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::gpu_test {

class LastTokens {
 public:
  explicit LastTokens(const AttentionCase& c)
      : case_(c),
        rows_(static_cast<int>(c.shape().lengths.size())),
        qkv_(rows_ * c.stride()),
        out_(rows_ * c.width()),
        positions_(rows_),
        token_row_(rows_) {
    std::vector<int32_t> positions, rows;
    for (int r = 0; r < rows_; ++r) {
      const int last = c.row_start(r) + c.shape().lengths[r] - 1;
      const half* from = c.input().data() + last * c.stride();
      host_.insert(host_.end(), from, from + c.stride());
      positions.push_back(c.shape().lengths[r] - 1), rows.push_back(r);
    }
    qkv_.Set(host_), positions_.Set(positions), token_row_.Set(rows);
  }

  int rows() const { return rows_; }
  const std::vector<half>& input() const { return host_; }
  Buffer<half>& qkv() { return qkv_; }
  Buffer<uint16_t>& out() { return out_; }

  AttentionCudaArgs Args(bool write_kv) const {
    AttentionCudaArgs args = case_.Args();
    args.qkv = qkv_.get(), args.positions = positions_.get(), args.token_row = token_row_.get();
    args.out = out_.get();
    args.write_kv = write_kv;
    return args;
  }

  // All but the last tokens into a cache of NaN.
  void WriteOld(AttentionCase& c) const {
    c.PoisonCache();
    for (int r = 0; r < rows_; ++r) {
      CUDA_CHECK(kernels::WriteKvCuda(c.Args(c.row_start(r)), c.shape().lengths[r] - 1, {}));
    }
  }

  std::vector<uint16_t> Decode(kernels::cuda::DecodeWay way, int cluster, bool write_kv) {
    out_.FillBytes(0xff);
    CUDA_CHECK(
        kernels::cuda::DecodeBy(way, cluster, Args(write_kv), 0, rows_, case_.longest(), {}));
    return out_.Get();
  }

 private:
  const AttentionCase& case_;
  int rows_;
  std::vector<half> host_;
  Buffer<half> qkv_;
  Buffer<uint16_t> out_;
  Buffer<int32_t> positions_, token_row_;
};

struct LateCopy {
  const uint16_t* out;  // what the kernel before wrote goes to `saved`; null: nothing
  uint16_t* saved;
  const half* from;  // to qkv, late; null: nothing
  half* qkv;
  int64_t outs, inputs;
  int64_t cycles;  // how late
  bool awaits;     // false: the broken twin
};

static __global__ void LateCopyKernel(const __grid_constant__ LateCopy c) {
  if (c.awaits) kernels::cuda::AwaitPrevious();
  kernels::cuda::AllowNext();
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (c.out != nullptr) {
    for (int64_t i = first; i < c.outs; i += stride) c.saved[i] = __ldcg(c.out + i);
  }
  if (c.from == nullptr) return;
  const int64_t start = clock64();
  while (clock64() - start < c.cycles) {
  }
  for (int64_t i = first; i < c.inputs; i += stride) c.qkv[i] = c.from[i];
}

// Steps with a qkv each, one after the other: a slow kernel writes it, attention is its dependent,
// and the next slow kernel, attention's dependent, saves what came out.
class LateChain {
 public:
  static constexpr int kSteps = 5;

  explicit LateChain(LastTokens& last)
      : last_(last),
        inputs_(static_cast<int64_t>(last.input().size())),
        outs_(static_cast<int64_t>(last.out().size())),
        from_(kSteps * inputs_),
        saved_(kSteps * outs_) {
    std::vector<half> all(kSteps * inputs_);
    for (int64_t i = 0; i < kSteps * inputs_; ++i) {
      all[i] = last.input()[(i * 31 + i / inputs_) % inputs_];
    }
    from_.Set(all);
  }

  const half* Input(int step) const { return from_.get() + step * inputs_; }
  std::vector<uint16_t> Saved() const { return saved_.Get(); }
  int64_t inputs() const { return inputs_; }

  // awaits: false: what saves the outputs does not wait for them.
  void Enqueue(kernels::cuda::DecodeWay way, int context_max, bool awaits, StreamRef stream) {
    AttentionCudaArgs args = last_.Args(true);
    args.dependent_launch = true;
    for (int step = 0; step <= kSteps; ++step) {
      LateCopy copy = {};
      copy.outs = outs_, copy.inputs = inputs_, copy.cycles = 40000, copy.awaits = awaits;
      if (step > 0) copy.out = last_.out().get(), copy.saved = saved_.get() + (step - 1) * outs_;
      if (step < kSteps) copy.from = Input(step), copy.qkv = last_.qkv().get();
      kernels::cuda::Shape shape;
      shape.grid = dim3(8), shape.threads = 256, shape.dependent = step > 0;
      CUDA_CHECK(kernels::cuda::Launch(stream, shape, LateCopyKernel, copy));
      if (step == kSteps) break;
      CUDA_CHECK(kernels::cuda::DecodeBy(way, 0, args, 0, last_.rows(), context_max, stream));
    }
  }

 private:
  LastTokens& last_;
  int64_t inputs_, outs_;
  Buffer<half> from_;
  Buffer<uint16_t> saved_;
};

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_ATTENTION_ATTENTION_LAST_CUH_
