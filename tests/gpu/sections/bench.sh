# shellcheck shell=bash disable=SC2154
SHOWN_LINES=80
check "bench 13B" 120 "$bin/pamir" bench engine --model opt-13b
check "bench 13B full skip" 60 "$bin/pamir" bench engine --model opt-13b --relu-skip full \
  --dummy-relu-density 0.05 --batch 1,4,8 --prefill 0
check "bench 30B" 90 "$bin/pamir" bench engine --model opt-30b --batch 1 --prefill 0
check "bench 6.7B" 60 "$bin/pamir" bench engine --model opt-6.7b --batch 1 --prefill 0
check "bench 1.3B" 30 "$bin/pamir" bench engine --model opt-1.3b --batch 1 --prefill 0 --steps 200
check "bench 125M" 30 "$bin/pamir" bench engine --model opt-125m --batch 1 --prefill 0 --steps 500
check "bench anchor" 130 python3 -u tests/gpu/anchor/anchor.py
