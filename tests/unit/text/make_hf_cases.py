#!/usr/bin/env python3
"""Writes hf_cases.json: random text and random ids through Hugging Face's tokenizers (0.23).

Usage: pip install tokenizers==0.23.3; make_hf_cases.py [CASES] > hf_cases.json
The text is chosen to be hard: all classes of characters, runs of white space, contractions,
pieces of fairy tales. The ids cut characters in the middle.
"""
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODEL = ROOT / "configs/models/fable-14m"
SPECIALS = 4
NOTABLE = (
    "'s 't 're 've 'm 'll 'd 'S 'RE '' ' \u2019s don't \n \n\n \r\n \t \u00a0 \u2003 \u3000 \u0085 "
    "\u180e \u200b \u200d \ufeff \u001c \u2028 _ - -- ... 12 3.5 \u00bd \u2177 \u0661 \u0301 "
    "e\u0301 \u4e2d\u6587 \u0939\u093f\u0928\u094d\u0926\u0940 \U0001f642 "
    "\U0001f469\u200d\U0001f467 </s> <pad>").split(" ")


def random_character(rng):
    while True:
        code_point = rng.randrange(rng.choice([0x80, 0x800, 0x3000, 0x10000, 0x110000]))
        if not 0xD800 <= code_point < 0xE000:
            return chr(code_point)


def random_text(rng, words):
    parts = []
    for _ in range(rng.randrange(1, 14)):
        kind = rng.randrange(5)
        if kind == 0:
            parts.append(random_character(rng))
        elif kind == 1:
            parts.append(rng.choice(NOTABLE))
        elif kind == 2:
            parts.append(rng.choice([" ", "  ", "   ", "\n", " \n ", "\t"]))
        else:
            parts.append(rng.choice(["", " "]) + rng.choice(words))
    return "".join(parts)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 250
    rng = random.Random(2024)
    words = (ROOT / "tests/golden/heldout.txt").read_text(encoding="utf-8").split(" ")
    files = str(MODEL / "vocab.json"), str(MODEL / "merges.txt")
    tokenizer = Tokenizer(models.BPE.from_file(*files))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    size = tokenizer.get_vocab_size()
    encode, decode = [], []
    for _ in range(count):
        text = random_text(rng, words)
        encode.append({"text": text, "ids": tokenizer.encode(text).ids})
        top = rng.choice([260, size])
        ids = [rng.randrange(SPECIALS, top) for _ in range(rng.randrange(1, 20))]
        decode.append({"ids": ids, "text": tokenizer.decode(ids)})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in encode)
    more_lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in decode)
    print('{"encode":[\n' + lines + '\n],\n"decode":[\n' + more_lines + "\n]}")


if __name__ == "__main__":
    main()
