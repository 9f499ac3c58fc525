# shellcheck shell=bash disable=SC2154
# float32: every greedy token, 1e-3, at 1x1, 2x1, 1x2 and 2x2 (ranks share the GPU, staged).
layouts='*tp1_pp1:*tp2_pp1:*tp1_pp2:*tp2_pp2'
check "goldens float32 token for token" 240 env PAMIR_DTYPE=float32 "$bin/e2e_golden" --gtest_filter="$layouts:CommandLine.*"
# Fed the reference's ids: arg-max and log-probabilities; perplexities of heldout.txt.
check "goldens float32 fed, perplexity" 150 env PAMIR_DTYPE=float32 "$bin/e2e_fed" --gtest_filter='*tp1_pp1:*tp2_pp2:*Perplexity*'
check "goldens float16 fed, perplexity" 240 env PAMIR_DTYPE=float16 "$bin/e2e_fed"
check "goldens fp8 KV cache fed, perplexity" 150 env PAMIR_DTYPE=float16 PAMIR_KV_CACHE_DTYPE=fp8 "$bin/e2e_fed" \
  --gtest_filter='*tp1_pp1:*tp2_pp2:*Perplexity*'
check "goldens float32 one-rank nccl" 100 env PAMIR_DTYPE=float32 PAMIR_TRANSPORT=nccl "$bin/e2e_golden" --gtest_filter='*tp1_pp1'
check "goldens float16 one-rank nccl" 100 env PAMIR_DTYPE=float16 PAMIR_TRANSPORT=nccl "$bin/e2e_fed" --gtest_filter='*tp1_pp1'
