# shellcheck shell=bash disable=SC2154
memory=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits | head -1)
if [ "$memory" -lt 140000 ]; then
  printf '%-34s %5s s  %s\n' "big 66B" 0 "skipped: needs 141 GB, here are $memory MiB" >> "$table"
else
  check "big 66B float16, batch 1" 530 "$bin/pamir" bench engine --model opt-66b --batch 1 --prefill 0
fi
