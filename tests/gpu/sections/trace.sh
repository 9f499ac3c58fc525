# shellcheck shell=bash disable=SC2154
SHOWN_LINES=60
for batch in 1 64; do
  check "trace 13B batch $batch" 60 tests/gpu/trace/trace.sh "$work/pamir" --model opt-13b --batch $batch --prefill 0
done
