# shellcheck shell=bash disable=SC2154
check "sanitize kernels" 400 env SANITIZE_SECONDS=180 tests/gpu/sanitize.sh "$bin"
# One golden with the whole engine under memcheck, in the processes that use the GPU.
check "sanitize one golden" 130 tests/gpu/sanitize_golden.sh "$bin/pamir" "$root"
