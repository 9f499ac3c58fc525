// The numbers of a KV cache in fp8, one at a time, by the rules of attention_cuda.h: what the
// kernels are held against.
#ifndef PAMIR_KERNELS_ATTENTION_KV_FP8_H_
#define PAMIR_KERNELS_ATTENTION_KV_FP8_H_

#include <cstdint>

namespace pamir::kernels {

// The scale, as fp16 bits, of a token's k or v of a head: count fp16 numbers, none of them
// infinite.
uint16_t KvFp8Scale(const float* values, int64_t count);
uint8_t ToKvFp8(float value, uint16_t scale);
// As the kernels read it back; a number of fp16.
float FromKvFp8(uint8_t bits, uint16_t scale);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_ATTENTION_KV_FP8_H_
