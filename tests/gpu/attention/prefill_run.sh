#!/usr/bin/env bash
# Builds attention's GPU programs without CMake, checks their bits, and measures prefill in all its
# forms beside PyTorch's (where there is one): prefill_run.sh
set -e
cd "$(dirname "$0")/../../.."
out=build/gpu-attention
mkdir -p $out
flags="-std=c++20 -O3 -lineinfo --diag-suppress=177 -gencode arch=compute_90a,code=sm_90a -Isrc -I. -Itests/gpu"
for f in kernels/attention/*.cu; do nvcc $flags -c "$f" -o "$out/$(basename "$f").o" & done
nvcc $flags -c tests/gpu/attention/attention_parity.cu -o $out/parity.o &
for dim in 64 80 128; do
  nvcc $flags -DPAMIR_HEAD_DIM=$dim -c tests/gpu/attention/prefill_forms.cu -o $out/forms_$dim.o &
done
wait
for program in parity forms_64 forms_80 forms_128; do
  nvcc $flags $out/$program.o $out/*.cu.o -o $out/$program &
done
wait
timeout 120 $out/parity | grep -v " ok$"
for dim in 64 80 128; do timeout 60 $out/forms_$dim | grep -v " ok$"; done
if python3 -c "import torch" 2>/dev/null; then python3 tests/gpu/attention/sdpa_times.py; fi
