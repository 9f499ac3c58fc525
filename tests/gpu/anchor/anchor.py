#!/usr/bin/env python3
"""The yardstick of a careful PyTorch user: one OPT decode step as a CUDA graph of cuBLAS products
and scaled-dot-product attention, with random weights.

Prints milliseconds a step (median) and the bytes of weights and KV cache over that time.
usage: anchor.py [--models 1.3b,6.7b,13b] [--batches 1,8,32,64] [--context 512]
"""
import argparse
import sys

SHAPES = {  # hidden, layers, heads
    "125m": (768, 12, 12),
    "1.3b": (2048, 24, 32),
    "6.7b": (4096, 32, 32),
    "13b": (5120, 40, 40),
    "30b": (7168, 48, 56),
    "66b": (9216, 64, 72),
}
VOCABULARY = 50272
RESERVE = 3 << 30  # for cuBLAS, the graph and what activations need


class Model:
    """Weights on the GPU; step() is one token for each row of the batch."""

    def __init__(self, torch, size):
        self.torch = torch
        self.hidden, self.layers, self.heads = SHAPES[size]
        h = self.hidden
        self.weights = []
        for _ in range(self.layers):
            shapes = ((3 * h, h), (h, h), (4 * h, h), (h, 4 * h))
            self.weights.append([(self.random(o, i), self.random(o)) for o, i in shapes])
        self.table = self.random(VOCABULARY, h)
        self.scale = torch.ones(h, device="cuda", dtype=torch.float16)
        self.shift = torch.zeros(h, device="cuda", dtype=torch.float16)

    def random(self, *shape):
        return self.torch.randn(*shape, device="cuda", dtype=self.torch.float16).mul_(0.02)

    def bytes(self):
        return 2 * (12 * self.layers * self.hidden**2 + VOCABULARY * self.hidden)

    def cache(self, batch, context):
        shape = (self.layers, 2, batch, self.heads, context, self.hidden // self.heads)
        return self.torch.randn(*shape, device="cuda", dtype=self.torch.float16)

    def norm(self, x):
        return self.torch.nn.functional.layer_norm(x, (self.hidden,), self.scale, self.shift)

    def step(self, x, cache):
        f = self.torch.nn.functional
        batch, last = x.shape[0], cache.shape[4] - 1
        for (qkv, out, fc1, fc2), (keys, values) in zip(self.weights, cache):
            parts = f.linear(self.norm(x), *qkv).view(batch, 3, self.heads, -1)
            query, key, value = parts.unbind(1)
            keys[:, :, last] = key
            values[:, :, last] = value
            seen = f.scaled_dot_product_attention(query[:, :, None], keys, values)
            x = x + f.linear(seen.reshape(batch, self.hidden), *out)
            x = x + f.linear(f.relu(f.linear(self.norm(x), *fc1)), *fc2)
        return f.linear(self.norm(x), self.table).argmax(-1)


def median_ms(torch, run, count=20):
    times = []
    for i in range(count + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        if i >= 3:
            times.append(begin.elapsed_time(end))
    return sorted(times)[count // 2]


def measure(torch, size, model, batch, context):
    cache = model.cache(batch, context)
    x = model.random(batch, model.hidden)
    model.step(x, cache)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model.step(x, cache)
    ms = median_ms(torch, graph.replay)
    moved = model.bytes() + 2 * cache.numel()
    print(f"opt-{size:5} batch {batch:3} context {context}: {ms:7.3f} ms, "
          f"{moved / ms / 1e9:5.2f} TB/s of weights and KV", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="125m,1.3b,6.7b,13b,30b")
    parser.add_argument("--batches", default="1,8,32,64")
    parser.add_argument("--context", type=int, default=512)
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed")
        return 77
    memory = torch.cuda.mem_get_info()[0]
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name(0)}", flush=True)
    with torch.no_grad():
        for size in args.models.split(","):
            hidden, layers, _ = SHAPES[size]
            weights = 2 * (12 * layers * hidden**2 + VOCABULARY * hidden)
            if weights + RESERVE > memory:
                print(f"opt-{size:5} does not fit into this GPU's memory", flush=True)
                continue
            model = Model(torch, size)
            for batch in map(int, args.batches.split(",")):
                if weights + 4 * layers * batch * args.context * hidden + RESERVE > memory:
                    print(f"opt-{size:5} batch {batch:3}: does not fit", flush=True)
                    continue
                measure(torch, size, model, batch, args.context)
                torch.cuda.empty_cache()
            del model
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
