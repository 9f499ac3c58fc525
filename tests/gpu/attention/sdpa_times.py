"""How fast PyTorch's fused attention is on this card, for the shapes of attention_times.cuh.

Causal, fp16, contiguous tensors, no cache; operations of the keys behind a query are not counted.
"""
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def milliseconds(call, repeats=15):
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def main():
    for dim, heads in [(64, 32), (80, 32), (128, 40)]:
        for rows, length in [(4, 2048), (1, 2048)]:
            q, k, v = (torch.rand(rows, heads, length, dim, device="cuda", dtype=torch.float16) * 2
                       - 1 for _ in range(3))
            for name, backend in [("cuDNN", SDPBackend.CUDNN_ATTENTION),
                                  ("FlashAttention-2", SDPBackend.FLASH_ATTENTION)]:
                with sdpa_kernel(backend), torch.no_grad():
                    ms = milliseconds(lambda: torch.nn.functional.scaled_dot_product_attention(
                        q, k, v, is_causal=True))
                flops = 2.0 * rows * length * length * heads * dim
                print(f"prefill head dim {dim:3} x {heads} heads, {rows} x {length}, {name:16}: "
                      f"{ms * 1e3:8.1f} us, {flops / ms * 1e-9:4.0f} TFLOP/s")


if __name__ == "__main__":
    main()
