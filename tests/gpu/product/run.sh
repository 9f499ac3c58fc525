#!/usr/bin/env bash
# Builds the products' GPU program without CMake and runs it: run.sh [arguments of gpu_product]
set -e
cd "$(dirname "$0")/../../.."
out=build/gpu-product
mkdir -p $out
flags="-std=c++20 -O3 -lineinfo -gencode arch=compute_90a,code=sm_90a -Isrc -I."
for f in kernels/product/*.cu kernels/norm/norm.cu tests/gpu/product/*.cu; do
  o=$out/$(basename "$f").o
  if [ "$o" -ot "$f" ] || [ -n "$(find kernels tests/gpu/product -name '*.cuh' -newer "$o" 2>/dev/null)" ] || [ ! -e "$o" ]; then
    nvcc $flags -c "$f" -o "$o" &
  fi
done
wait
nvcc $flags $out/*.o -o $out/gpu_product -ldl
lib=$(find /usr/local /opt -name libcublasLt.so.13 2>/dev/null | head -1)
LD_LIBRARY_PATH=${lib%/*}:$LD_LIBRARY_PATH $out/gpu_product "$@"
