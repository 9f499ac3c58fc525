#!/usr/bin/env bash
# The kernels of `pamir bench engine`'s decode steps, by CUPTI. usage: trace.sh BUNDLE [FLAGS of the bench]
# Exit status 77 where there is no CUPTI.
set -u
bundle=$1; shift
here=$(cd "$(dirname "$0")" && pwd)
[ -f "$bundle/lib/kernel_trace.so" ] || { echo "kernel_trace.so was not built: no CUPTI in the CUDA toolkit"; exit 77; }
# With the toolkit, or in the Python package of PyTorch's.
found=$(ls -d /usr/local/cuda/extras/CUPTI/lib64 /usr/local/cuda/lib64 /usr/local/cuda/lib 2>/dev/null |
  while read -r folder; do ls "$folder"/libcupti.so.1[2-9] 2>/dev/null; done | head -1)
[ -n "$found" ] || found=$(python3 -c 'import glob, site
print(*sum((glob.glob(p + "/nvidia/**/libcupti.so.1[2-9]", recursive=True) for p in site.getsitepackages()), [])[:1])')
[ -n "$found" ] || { echo "no libcupti here"; exit 77; }
trace=$(mktemp)
trap 'rm -f "$trace"' EXIT
LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$(dirname "$found") CUDA_INJECTION64_PATH=$bundle/lib/kernel_trace.so PAMIR_TRACE=$trace \
  "$bundle/bin/pamir" bench engine "$@" | grep -E '^(decode|prefill)  ' || exit 1
python3 "$here/kernel_trace.py" "$trace"
