# shellcheck shell=bash disable=SC2154
SHOWN_LINES=80
check "bench engine" 400 "$bin/pamir" bench engine
check "bench anchor" 130 python3 -u tests/gpu/anchor/anchor.py
