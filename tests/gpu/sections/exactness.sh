# shellcheck shell=bash disable=SC2154
for skip in off group full; do
  check "exactness float16, skip $skip" 170 env PAMIR_DTYPE=float16 PAMIR_RELU_SKIP=$skip \
    "$bin/e2e_many_clients" --gtest_filter='*tp1_pp1:*tp2_pp1'
done
check "exactness float16, fp8 KV cache" 170 env PAMIR_DTYPE=float16 PAMIR_KV_CACHE_DTYPE=fp8 \
  "$bin/e2e_many_clients" --gtest_filter='*tp1_pp1:*tp2_pp1'
