# shellcheck shell=bash disable=SC2154
check "parity with transformers" 530 python3 -u tests/gpu/parity/parity.py --pamir "$bin/pamir"
