#!/usr/bin/env python3
"""Random OPT checkpoints at real shapes, in Pamir and in transformers.

The reference is transformers in float32 (no TF32) over the same fp16 weights. What Pamir may differ
by follows from where it rounds to fp16 (u = 2^-11; a rounding changes a value by u / sqrt(3) in the
mean): the residual stream is fp32, and each half of a layer rounds three vectors (its norm, what is
between the products, the attention's probabilities), so its output is off by about 5e-4 of itself.
Layers add these independently and scale what they inherit by about one: 1e-3 of the final state,
and as much of the standard deviation s of the logits. Post-norm layers pass on more. Asked for,
over all positions: root mean square of a log-probability's error <= 0.004 s, the largest <= 0.02 s.
A wrong head, mask or norm is off by s itself, a bias left out in one layer by 0.07 s (that of q:
0.005 s). In float32 (u = 2^-24): 1e-4 s.

The vocabulary has OPT's 50265 tokens, its bytes spread over all of them, so that what Pamir's head
sums and chooses from is what is compared. The 7 rows behind it pad the table: Pamir gives them no
probability, the reference leaves them out, and they are big enough to be seen if either did not.

Greedy tokens: transformers is fed the tokens that Pamir chose; each must have the best logit, or
one that is behind it by no more than twice the largest error allowed. Their log-probabilities are
held to the bounds above, and a few must differ: a model that repeats one token would hide faults.

usage: parity.py --pamir PROGRAM [--device cuda] [--models 125m,350m] [--seconds 520]
Exit status 77 where torch or transformers is missing.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

SHAPES = {  # hidden, layers, layers here, heads, embedding width, norm before
    "125m": (768, 12, 12, 12, 768, True),
    "350m": (1024, 24, 24, 16, 512, False),
    "1.3b": (2048, 24, 24, 32, 2048, True),
    "2.7b": (2560, 32, 12, 32, 2560, True),
    "6.7b": (4096, 32, 6, 32, 4096, True),
}
ROWS, TOKENS = 50272, 50265  # of the embedding table; of the vocabulary
LOGIT_STD = 3.0
BOUNDS = {"float16": (0.004, 0.02), "float32": (1e-4, 1e-4)}  # rms, largest; times the logits' std
HELD_OUT = pathlib.Path(__file__).resolve().parents[2] / "golden" / "heldout.txt"
PROMPT_BYTES = 64
NEW_TOKENS = 48
LEAST_DIFFERENT = 4


class Server:
    """`pamir serve` over one checkpoint; ended by its process id."""

    def __init__(self, pamir, directory, device, dtype):
        self.pamir = pamir
        self.out = tempfile.TemporaryFile("w+")
        self.err = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [pamir, "serve", "--model", str(directory), "--device", device, "--dtype", dtype,
             "--grpc-port", "0", "--num-kv-blocks", "256", "--max-num-seqs", "4"],
            stdout=self.out, stderr=self.err)
        try:
            self.target = self.address(time.monotonic() + 120)
        except RuntimeError:
            self.stop()
            raise

    def address(self, until):
        while time.monotonic() < until and self.process.poll() is None:
            self.out.seek(0)
            for line in self.out.read().splitlines():
                if line.startswith("gRPC  "):
                    return line[len("gRPC  "):].strip()
            time.sleep(0.05)
        self.err.seek(0)
        raise RuntimeError("pamir serve did not get ready: " + self.err.read()[-2000:])

    def ask(self, *args):
        done = subprocess.run([self.pamir, *args, "--json", "--target", self.target],
                              capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"pamir {args[0]}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def initialize(torch, model):
    """Weights that keep every vector's size near one and the logits' near LOGIT_STD.

    What all positions have in common is kept small (the biases, the mean of what comes out of the
    ReLU), what tells them apart is not: else the same token is the best one everywhere.
    """
    generator = torch.Generator(device="cpu").manual_seed(1)

    def normal(tensor, std, mean=0.0):
        values = torch.randn(tensor.shape, generator=generator) * std + mean
        tensor.copy_(values.to(tensor.device))

    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed_tokens" in name:
                normal(p, LOGIT_STD / p.shape[1] ** 0.5)
                p[TOKENS:] *= 4.0
            elif "embed_positions" in name:
                normal(p, 0.5)
            elif name.endswith("layer_norm.weight"):
                normal(p, 0.1, 1.0)
            elif p.dim() == 1:
                normal(p, 0.03)
            else:
                normal(p, (0.5 if "out_proj" in name or "fc2" in name else 1.0) / p.shape[1] ** 0.5)
                if "fc2" in name:
                    p -= p.mean(1, keepdim=True)


def write_tokenizer(directory):
    """TOKENS tokens without merges: text is a token a byte, the bytes' ids far apart."""
    # Bytes that stand for themselves in the byte alphabet; the others are written as 256 and up.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    names = [f"token{i}" for i in range(TOKENS)]
    names[:4] = ["<s>", "<pad>", "</s>", "<unk>"]
    for byte in range(256):
        names[100 + 196 * byte] = chr(byte if byte in printable else 256 + others.index(byte))
    vocabulary = {name: i for i, name in enumerate(names)}
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    (directory / "merges.txt").write_text("#version: 0.2\n")


def make_model(torch, size, directory, where):
    """Writes the checkpoint in fp16; returns the model over the same weights in float32."""
    from transformers import OPTConfig, OPTForCausalLM
    hidden, _, layers, heads, width, norm_before = SHAPES[size]
    config = OPTConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                       ffn_dim=4 * hidden, word_embed_proj_dim=width, vocab_size=ROWS,
                       do_layer_norm_before=norm_before, max_position_embeddings=2048,
                       activation_function="relu", attn_implementation="eager")
    with torch.device(where):
        model = OPTForCausalLM(config).eval()
    initialize(torch, model)
    model.half().save_pretrained(directory, safe_serialization=True)
    write_tokenizer(directory)
    return model.float()


def logits_of(torch, model, ids):
    """Of each position, those of the vocabulary's tokens."""
    with torch.no_grad():
        tokens = torch.tensor([ids], device=next(model.parameters()).device)
        return model(input_ids=tokens).logits[0, :, :TOKENS].float()


def within_bounds(torch, logprobs, logits, ids, bounds, what):
    """Whether these are the tokens' log-probabilities under the logits; prints how far off."""
    std = logits.std(dim=-1).mean().item()
    wanted = torch.log_softmax(logits.double(), -1)
    wanted = wanted.gather(1, torch.tensor(ids, device=logits.device)[:, None])[:, 0].cpu()
    error = torch.tensor(logprobs, dtype=torch.float64) - wanted
    rms, largest = error.square().mean().sqrt().item(), error.abs().max().item()
    good = rms <= bounds[0] * std and largest <= bounds[1] * std  # false for NaN
    print(f"  {len(ids):5} tokens {what}, logits' std {std:.2f}: error rms {rms / std:.1e} std "
          f"(bound {bounds[0]:.0e}), largest {largest / std:.1e} (bound {bounds[1]:.0e}): "
          f"{'ok' if good else 'FAILED'}", flush=True)
    return good


def compare_scores(torch, server, model, text, bounds):
    score = server.ask("score", "--text", text)
    ids = score["token_ids"]
    logits = logits_of(torch, model, ids)[:-1]
    return within_bounds(torch, score["logprobs"][1:], logits, ids[1:], bounds, "scored")


def compare_greedy(torch, server, model, text, bounds):
    answer = server.ask("generate", "--prompt", text, "--max-tokens", str(NEW_TOKENS),
                        "--temperature", "0", "--ignore-eos")
    prompt, choice = answer["prompt_token_ids"], answer["choices"][0]
    new = choice["token_ids"]
    logits = logits_of(torch, model, prompt + new)[len(prompt) - 1:-1]
    std = logits.std(dim=-1).mean().item()
    chosen = logits.gather(1, torch.tensor(new, device=logits.device)[:, None])[:, 0]
    behind = logits.max(-1).values - chosen
    different = len(set(new))
    good = (len(new) == NEW_TOKENS and different >= LEAST_DIFFERENT
            and bool((behind <= 2 * bounds[1] * std).all()))
    print(f"  {len(new):5} tokens generated, {different} different (at least {LEAST_DIFFERENT}), "
          f"{int((behind == 0).sum())} are transformers' best, the others at most "
          f"{behind.max().item() / std:.1e} std behind: {'ok' if good else 'FAILED'}", flush=True)
    return within_bounds(torch, choice["logprobs"], logits, new, bounds, "generated") and good


def check(torch, args, size, texts):
    hidden, layers_real, layers, heads, _, norm_before = SHAPES[size]
    print(f"opt-{size}: hidden {hidden}, {layers} of {layers_real} layers, head dim "
          f"{hidden // heads}, norm {'before' if norm_before else 'after'}", flush=True)
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        model = make_model(torch, size, directory, args.reference_device)
        for dtype in ("float16", "float32") if size in ("125m", "350m") else ("float16",):
            print(f" {dtype}", flush=True)
            server = Server(args.pamir, directory, args.device, dtype)
            try:
                for text in texts:
                    good &= compare_scores(torch, server, model, text, BOUNDS[dtype])
                good &= compare_greedy(torch, server, model, texts[0][:PROMPT_BYTES], BOUNDS[dtype])
            finally:
                server.stop()
        del model
    if args.reference_device == "cuda":
        torch.cuda.empty_cache()
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pamir", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--reference-device", default="cuda")
    parser.add_argument("--models", default=",".join(SHAPES))
    parser.add_argument("--seconds", type=float, default=520)
    args = parser.parse_args()
    begin = time.monotonic()
    try:
        import torch
        import transformers
    except ImportError as missing:
        print(f"needs torch and transformers: {missing}")
        return 77
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}", flush=True)
    text = "".join(c for c in HELD_OUT.read_text() if c.isascii())
    texts = [text[:1200], text[2000:2037]]
    failed = []
    for size in args.models.split(","):
        if time.monotonic() - begin > args.seconds * 0.85:
            print(f"opt-{size}: no time left", flush=True)
            failed.append(size)
            continue
        try:
            good = check(torch, args, size, texts)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"  FAILED: {error}", flush=True)
            good = False
        if not good:
            failed.append(size)
    print(f"{time.monotonic() - begin:.0f} s; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
