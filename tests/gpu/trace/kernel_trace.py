#!/usr/bin/env python3
"""Decode steps in what kernel_trace.cc wrote: what each kernel adds to a step, and the idle GPU.

A step begins with the kernel named --first. Of the last 40 % of the steps (those that pamir bench
engine begins before their predecessors have ended) with the commonest number of kernels the median one is printed in the order of its kernels, equal ones (name and grid) summed: how often, its own
microseconds (start to end; dependent launches overlap), what it adds (its end less the latest
end before it) and the gap before it, in which the GPU did nothing.

usage: kernel_trace.py TRACE.csv [--first Embed]
"""
import argparse
import collections
import re
import statistics


def short(name):
    name = re.sub(r"\(.*", "", name.replace("(anonymous namespace)::", ""))
    name = re.sub(r"^void ", "", name)
    return name.replace("pamir::", "").replace("kernels::", "").replace("cuda::", "")[:70]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trace")
    parser.add_argument("--first", default="Embed")
    args = parser.parse_args()
    rows = []
    with open(args.trace, encoding="utf-8") as file:
        for line in file:
            start, end, grid, block, name = line.rstrip("\n").split(",", 4)
            rows.append((int(start), int(end), int(grid), int(block), short(name)))
    rows.sort()
    starts = [i for i, row in enumerate(rows) if args.first in row[4]]
    steps = [rows[a:b] for a, b in zip(starts, starts[1:])]
    if not steps:
        raise SystemExit(f"no kernel named {args.first}: {sorted({r[4] for r in rows})}")
    kernels = collections.Counter(len(step) for step in steps).most_common(1)[0][0]
    begins = [(a[0][0], b[0][0], a) for a, b in zip(steps, steps[1:]) if len(a) == kernels]
    begins = begins[len(begins) * 6 // 10:]
    begins.sort(key=lambda one: one[1] - one[0])
    begin, following, step = begins[len(begins) // 2]
    added = collections.OrderedDict()
    latest = begin
    idle = 0
    for start, end, grid, block, name in step:
        key = (name, grid, block)
        count, own, adds, gap = added.get(key, (0, 0, 0, 0))
        wait = max(0, start - latest)
        idle += wait
        added[key] = (count + 1, own + end - start, adds + max(0, end - max(latest, start)), gap + wait)
        latest = max(latest, end)
    idle_after = max(0, following - latest)
    total = following - begin
    print(f"{len(begins)} steps of {kernels} kernels and copies; the median one {total / 1e3:.1f} us, "
          f"others {statistics.quantiles([b - a for a, b, _ in begins], n=10)[0] / 1e3:.1f} (p10)")
    print(f"{'kernel':72} {'grid':>6} {'block':>5} {'times':>5} {'own us':>9} {'adds us':>9} "
          f"{'each':>7} {'gap us':>8}")
    for (name, grid, block), (count, own, adds, gap) in added.items():
        print(f"{name:72} {grid:6} {block:5} {count:5} {own / 1e3:9.1f} {adds / 1e3:9.1f} "
              f"{adds / count / 1e3:7.2f} {gap / 1e3:8.1f}")
    print(f"idle within the step {idle / 1e3:.1f} us ({100 * idle / total:.2f} %), "
          f"between steps {idle_after / 1e3:.1f} us ({100 * idle_after / total:.2f} %)")


if __name__ == "__main__":
    main()
