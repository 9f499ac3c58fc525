// What sampling is given, and its reference: plain loops that need nothing else of Pamir, so that
// every device's tests can be judged by them.
#ifndef PAMIR_KERNELS_SAMPLE_SAMPLE_ARGS_H_
#define PAMIR_KERNELS_SAMPLE_SAMPLE_ARGS_H_

#include <cstdint>

namespace pamir::kernels {

struct SampleRow {
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: all
  float top_p = 1;
  uint64_t seed = 0;
  uint32_t choice = 0;
  uint64_t position = 0;  // of the token being drawn, within the sequence
};

struct SampleArgs {
  const float* logits = nullptr;  // [rows][stride]
  int64_t rows = 0;
  int64_t stride = 0;
  int64_t vocab = 0;                  // ids 0 .. vocab - 1 take part
  const SampleRow* params = nullptr;  // [rows]
  int32_t* tokens = nullptr;          // [rows] out
  float* logprobs = nullptr;  // [rows] out: log softmax(logits)[token], temperature 1, no cuts
  void* scratch = nullptr;    // SampleScratchBytes(vocab, threads)
};
void SampleReference(const SampleArgs& args);

// logprobs[r] = log softmax(logits[r])[tokens[r]].
struct LogprobArgs {
  const float* logits = nullptr;
  int64_t rows = 0;
  int64_t stride = 0;
  int64_t vocab = 0;
  const int32_t* tokens = nullptr;
  float* logprobs = nullptr;
};
void TokenLogprobsReference(const LogprobArgs& args);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_SAMPLE_SAMPLE_ARGS_H_
