#!/usr/bin/env bash
# One golden with the whole engine on the GPU under compute-sanitizer's memcheck.
# usage: sanitize_golden.sh PAMIR REPOSITORY   exit status 1: a report, or another answer
set -u
pamir=$1 root=$2
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
[ -n "$sanitizer" ] || { echo "no compute-sanitizer; it comes with the CUDA toolkit"; exit 1; }
logs=$(mktemp -d)
server=
# `pamir serve` itself, below the sanitizer, which writes its summary only if it outlives that.
served() {
  local p
  for p in $(pgrep -x pamir); do
    tr '\0' ' ' < "/proc/$p/cmdline" | grep -q -- "--grpc-port 50979" && echo "$p" && return
  done
}
cleanup() { [ -n "$server" ] && kill "$(served)" "$server" 2>/dev/null && wait "$server"; rm -rf "$logs"; }
trap cleanup EXIT
# The worker is a child of `pamir serve`: a GPU's memory all taken would make memcheck slow.
"$sanitizer" --tool memcheck --target-processes all --error-exitcode 99 --log-file "$logs/memcheck.%p" \
  "$pamir" serve --model "$root/configs/models/fable-2m" --device cuda --dtype float16 --num-kv-blocks 256 \
  --max-num-seqs 4 --max-num-batched-tokens 256 --grpc-port 50979 > "$logs/out" 2> "$logs/err" &
server=$!
for _ in $(seq 600); do
  grep -q '^gRPC ' "$logs/out" && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.2
done
grep -q '^gRPC ' "$logs/out" || { echo "the server did not get ready:"; tail -20 "$logs/err" "$logs"/memcheck.*; exit 1; }
expected=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["fable-2m"]["cases"][0]["greedy_text"][:40])' \
  "$root/tests/golden/golden.json")
got=$(timeout 60 "$pamir" generate --prompt "Once upon a time" --max-tokens 16 --temperature 0 --target 127.0.0.1:50979)
kill -TERM "$(served)" || exit 1
wait "$server"
status=$?
server=
echo "answer: $got"
grep -h 'ERROR SUMMARY' "$logs"/memcheck.* || { echo "memcheck wrote no summary"; exit 1; }
grep -h '=====' "$logs"/memcheck.* | grep -v 'Host Frame' | head -30
bad=0
# 15: the sanitizer's own threads, which are there before pamir blocks signals, take the SIGTERM.
[ "$status" -eq 0 ] || [ "$status" -eq 15 ] || { echo "exit status $status"; bad=1; }
grep -h 'ERROR SUMMARY' "$logs"/memcheck.* | grep -qv ' 0 errors' && bad=1
case "$got" in "${expected:0:20}"*) ;; *) echo "expected $expected"; bad=1 ;; esac
exit $bad
