# shellcheck shell=bash disable=SC2154
# Code of compute_75, which the driver compiles for the GPU at hand: none of Hopper's own.
neutral=${PAMIR_NEUTRAL_FOLDER:-$root/build/gpu-neutral/bin}
if [ ! -f "$neutral/pamir_cuda.so" ]; then
  PATH=$PATH:/usr/local/cuda/bin
  check "neutral build" 300 sh -c "cmake -G Ninja -S cmake/gpu -B build/gpu-neutral -DCMAKE_CUDA_ARCHITECTURES=75-virtual &&
    cmake --build build/gpu-neutral -j $(nproc)"
fi
for program in gpu_product gpu_attention gpu_attention_decode gpu_attention_fp8 gpu_ops; do
  check "neutral $program" 120 "$neutral/$program" --quick
done
check "neutral goldens float16, fed" 120 env PAMIR_CUDA_MODULE="$neutral/pamir_cuda.so" PAMIR_DTYPE=float16 "$bin/e2e_fed"
check "neutral exactness float16" 60 env PAMIR_CUDA_MODULE="$neutral/pamir_cuda.so" PAMIR_DTYPE=float16 \
  "$bin/e2e_many_clients" --gtest_filter='*tp1_pp1'
