// The end of the last stage: logits of the rows that want something, and what they want, without a
// logit leaving the device.
#include <algorithm>

#include "base/status_macros.h"
#include "core/spec/logit_rows.h"
#include "engine/model/cuda_layers.h"

namespace pamir::model {
namespace {

using spec::kLogitRows;

int64_t ElementBytes(const CudaContext& c) { return static_cast<int64_t>(SizeOf(c.type())); }

// picked = the rows of `from`, as many bytes each.
absl::Status PickRows(const CudaContext& c, const CudaStep& step, int64_t first, int64_t count,
                      const void* from, int64_t row_bytes, void* picked) {
  kernels::PickRowsCudaArgs args;
  args.in = from;
  args.rows = Input<int32_t>(c, step, step.at.picks) + first;
  args.count = count;
  args.row_bytes = row_bytes;
  args.out = picked;
  args.dependent_launch = c.dependent;
  return c.device->Check(c.api().pick_rows(args, c.stream), "pick rows");
}

// The hidden states of picks first .. first + count - 1, normed, in the weights' type.
absl::StatusOr<const void*> Hidden(const CudaContext& c, const CudaStep& step, int64_t first,
                                   int64_t count) {
  const CudaBuffers& b = *c.buffers;
  const int64_t width = c.model->hidden, bytes = width * ElementBytes(c);
  const bool normed = !c.model->pre_norm || (step.shape.in_order && c.model->final_norm);
  if (normed && step.shape.in_order) return static_cast<const char*>(b.y) + first * bytes;
  if (normed) {
    PAMIR_RETURN_IF_ERROR(PickRows(c, step, first, count, b.y, bytes, b.picked_y));
    return b.picked_y;
  }
  PAMIR_RETURN_IF_ERROR(
      PickRows(c, step, first, count, b.x, width * static_cast<int64_t>(sizeof(float)), b.picked));
  kernels::NormCudaArgs args;
  args.rows = count;
  args.width = width;
  args.x = b.picked;
  args.normalize = c.model->final_norm;
  args.gamma = c.weights->final_norm.gamma;
  args.beta = c.weights->final_norm.beta;
  args.y = b.picked_y;
  args.y_type = c.type();
  args.dependent_launch = c.dependent;
  PAMIR_RETURN_IF_ERROR(c.device->Check(c.api().add_norm(args, c.stream), "normalize"));
  return b.picked_y;
}

// The ranks' columns side by side on the stage's first rank; null on the others.
absl::StatusOr<const float*> GatherLogits(const CudaContext& c, int64_t count) {
  const CudaBuffers& b = *c.buffers;
  const auto& shards = c.plan->stages.back().shards;
  if (shards.size() == 1) return b.shard_logits;
  std::vector<int64_t> counts;
  for (const spec::TensorShard& shard : shards) counts.push_back(count * shard.vocab.size());
  PAMIR_RETURN_IF_ERROR(c.stage->Gather(0, b.shard_logits, counts, b.gathered_logits, c.stream));
  if (c.tensor_index != 0) return nullptr;
  const float* from = b.gathered_logits;
  for (const spec::TensorShard& shard : shards) {
    const int64_t bytes = shard.vocab.size() * static_cast<int64_t>(sizeof(float));
    PAMIR_RETURN_IF_ERROR(
        c.device->Check(c.api().copy_rows(b.logits + shard.vocab.begin,
                                          c.model->vocab * static_cast<int64_t>(sizeof(float)),
                                          from, bytes, bytes, count, c.stream),
                        "place logits"));
    from += count * shard.vocab.size();
  }
  return b.logits;
}

absl::StatusOr<const float*> Logits(const CudaContext& c, const CudaStep& step, int64_t first,
                                    int64_t count) {
  const CudaBuffers& b = *c.buffers;
  const auto multiply = [&](const void* x, const kernels::cuda::GpuMatrix& w, void* y, DType type) {
    const CudaProductCall call = {.x = x, .rows = count, .w = w, .y = y, .y_type = type};
    return c.device->Check(c.api().product(c.products, c.stream, ProductArgsOf(c, call)),
                           "multiply");
  };
  PAMIR_ASSIGN_OR_RETURN(const void* hidden, Hidden(c, step, first, count));
  if (c.model->projected()) {
    void* projected =
        static_cast<char*>(b.picked_y) + kLogitRows * c.model->hidden * ElementBytes(c);
    PAMIR_RETURN_IF_ERROR(multiply(hidden, c.weights->project_out, projected, c.type()));
    hidden = projected;
  }
  PAMIR_RETURN_IF_ERROR(multiply(hidden, c.weights->lm_head, b.shard_logits, DType::kFloat32));
  return GatherLogits(c, count);
}

absl::Status Sample(const CudaContext& c, const CudaStep& step, int64_t first, int64_t count,
                    const float* logits) {
  const ResultOffsets at = ResultsOf(step.shape.samples, step.shape.scores);
  kernels::SampleCudaArgs args;
  args.logits = logits;
  args.rows = count;
  args.stride = c.model->vocab;
  args.vocab = c.plan->limits.text_vocab;
  args.params = Input<kernels::SampleRow>(c, step, step.at.params) + first;
  args.tokens = Result<int32_t>(c, step, at.tokens) + first;
  args.logprobs = Result<float>(c, step, at.logprobs) + first;
  args.slots = Input<int32_t>(c, step, step.at.sample_slots) + first;
  args.sampled = c.buffers->sampled;
  args.dependent_launch = c.dependent;
  return c.device->Check(c.api().sample(args, c.stream), "sample");
}

absl::Status Score(const CudaContext& c, const CudaStep& step, int64_t first, int64_t count,
                   const float* logits) {
  const ResultOffsets at = ResultsOf(step.shape.samples, step.shape.scores);
  kernels::LogprobCudaArgs args;
  args.logits = logits;
  args.rows = count;
  args.stride = c.model->vocab;
  args.vocab = c.plan->limits.text_vocab;
  args.tokens = Input<int32_t>(c, step, step.at.score_ids) + first;
  args.logprobs = Result<float>(c, step, at.score_logprobs) + first;
  args.dependent_launch = c.dependent;
  return c.device->Check(c.api().token_logprobs(args, c.stream), "score");
}

}  // namespace

absl::Status CudaHead(const CudaContext& c, const CudaStep& step) {
  const int64_t samples = step.shape.samples, scores = step.shape.scores;
  for (int64_t done = 0; done < samples; done += kLogitRows) {
    const int64_t count = std::min(kLogitRows, samples - done);
    PAMIR_ASSIGN_OR_RETURN(const float* logits, Logits(c, step, done, count));
    if (c.tensor_index == 0) PAMIR_RETURN_IF_ERROR(Sample(c, step, done, count, logits));
  }
  for (int64_t done = 0; done < scores; done += kLogitRows) {
    const int64_t count = std::min(kLogitRows, scores - done);
    PAMIR_ASSIGN_OR_RETURN(const float* logits, Logits(c, step, samples + done, count));
    if (c.tensor_index == 0) PAMIR_RETURN_IF_ERROR(Score(c, step, done, count, logits));
  }
  return absl::OkStatus();
}

}  // namespace pamir::model
