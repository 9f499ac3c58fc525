#!/usr/bin/env python3
"""Tests of scripts/convert-bin. What needs no PyTorch always runs; where PyTorch is missing the
rest cannot, and the exit status is 77, which ctest reports as "not run", never as passed."""
import json
import os
import pathlib
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/convert-bin"
FABLE = ROOT / "configs/models/fable-2m"
SKIPPED = 77
TORCH_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}

try:
    import torch
except ImportError:
    torch = None


def convert(*arguments, **options):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True,
                          text=True, check=False, **options)


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}, read by the format's definition."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__")
    body, tensors, covered = data[8 + length:], {}, 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = (entry["dtype"], entry["shape"], body[begin:end])
        covered += end - begin
    assert covered == len(body), "the data has gaps or a rest"
    return tensors


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pamir-convert-bin-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "config.json").write_text('{"tie_word_embeddings": true}')

    def index(self, weight_map):
        path = self.folder / "pytorch_model.bin.index.json"
        path.write_text(json.dumps({"weight_map": weight_map}))

    def assert_refused(self, why, *arguments):
        result = convert(self.folder, *arguments)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn(why, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        self.assertEqual(list(self.folder.glob("*.part")), [])


class WithoutTorch(Case):
    def test_names_the_missing_package(self):
        (self.folder / "pytorch_model.bin").write_bytes(b"x")
        hiding = self.folder / "hiding"
        hiding.mkdir()
        (hiding / "torch.py").write_text("raise ImportError('hidden by the test')")
        result = convert(self.folder, env={**os.environ, "PYTHONPATH": str(hiding)})
        self.assertEqual(result.returncode, 1)
        self.assertIn("pip install torch", result.stderr)

    def test_refuses_a_torch_whose_weights_only_is_unsound(self):
        (self.folder / "pytorch_model.bin").write_bytes(b"x")
        old = self.folder / "old"
        old.mkdir()
        (old / "torch.py").write_text("__version__ = '2.5.1+cpu'")
        result = convert(self.folder, env={**os.environ, "PYTHONPATH": str(old)})
        self.assertEqual(result.returncode, 1)
        self.assertIn("PyTorch 2.5.1+cpu is too old", result.stderr)

    def test_wrong_command_line(self):
        self.assertEqual(convert().returncode, 2)
        self.assertEqual(convert(self.folder, "--nonsense").returncode, 2)

    def test_refuses_what_is_not_there(self):
        self.assert_refused("pytorch_model.bin is missing")
        result = convert(self.folder / "nowhere")
        self.assertEqual(result.returncode, 1)
        self.assertIn("is not a directory", result.stderr)

    def test_refuses_a_bad_index(self):
        self.index({})
        self.assert_refused("has no weight_map")
        self.index({"a": "../pytorch_model.bin"})
        self.assert_refused("no plain file name")
        self.index({"a": "pytorch_model-00001-of-00001.bin"})
        self.assert_refused("the index names it")
        (self.folder / "pytorch_model.bin.index.json").write_text("{")
        self.assert_refused("is not readable JSON")


class RunsCode:
    """A pickle that makes a file when it is read naively."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


class WithTorch(Case):
    def save(self, state, name="pytorch_model.bin", **options):
        torch.save(state, self.folder / name, **options)

    def weights(self):
        torch.manual_seed(7)
        embedding = torch.randn(9, 4).to(torch.float16)
        return {"model.decoder.embed_tokens.weight": embedding, "lm_head.weight": embedding,
                "model.decoder.a": torch.randn(5).to(torch.bfloat16),
                "model.decoder.b": torch.randn(3, 5).t(),  # not contiguous
                "model.decoder.c": torch.tensor(1.5), "model.decoder.none": torch.empty(0, 3)}

    def assert_same(self, stored, tensor):
        dtype, shape, data = stored
        self.assertEqual(TORCH_TYPES[dtype], str(tensor.dtype).split(".")[1])
        self.assertEqual(shape, list(tensor.shape))
        if tensor.numel() > 0:
            back = torch.frombuffer(bytearray(data), dtype=tensor.dtype).reshape(tensor.shape)
            self.assertTrue(torch.equal(back, tensor))

    def test_one_file(self):
        for legacy in (False, True):
            weights = self.weights()
            self.save(weights, _use_new_zipfile_serialization=not legacy)
            result = convert(self.folder, "--force")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("wrote 5 tensors in 1 file ", result.stdout)
            stored = read_safetensors(self.folder / "model.safetensors")
            del weights["lm_head.weight"]  # tied: not stored twice
            self.assertEqual(set(stored), set(weights))
            for name, tensor in weights.items():
                self.assert_same(stored[name], tensor)

    def test_shards_and_output(self):
        weights = self.weights()
        first, second = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
        names = list(weights)
        halves = {first: names[:1] + names[2:4], second: names[1:2] + names[4:]}
        for file, part in halves.items():
            self.save({name: weights[name] for name in part}, file)
        self.index({name: file for file, part in halves.items() for name in part})
        output = self.folder / "out"
        result = convert(self.folder, "--output", output)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("100 %", result.stderr)
        index = json.loads((output / "model.safetensors.index.json").read_text())
        self.assertEqual(set(index["weight_map"]), set(weights) - {"lm_head.weight"})
        self.assertTrue((output / "config.json").exists())
        total = 0
        for name, file in index["weight_map"].items():
            stored = read_safetensors(output / file)[name]
            self.assert_same(stored, weights[name])
            total += len(stored[2])
        self.assertEqual(index["metadata"]["total_size"], total)

    def test_a_real_model_comes_back_bit_for_bit(self):
        original = read_safetensors(FABLE / "model.safetensors")
        state = {name: torch.frombuffer(bytearray(data), dtype=getattr(torch, TORCH_TYPES[dtype]))
                 .reshape(shape) for name, (dtype, shape, data) in original.items()}
        self.save(state)
        shutil.copy(FABLE / "config.json", self.folder / "config.json")
        result = convert(self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(read_safetensors(self.folder / "model.safetensors"), original)

    def test_lm_head_of_its_own(self):
        weights = self.weights()
        weights["lm_head.weight"] = weights["lm_head.weight"] + 1
        self.save(weights)
        self.assert_refused("the two differ")
        (self.folder / "config.json").write_text('{"tie_word_embeddings": false}')
        self.assertEqual(convert(self.folder).returncode, 0)
        self.assertIn("lm_head.weight", read_safetensors(self.folder / "model.safetensors"))

    def test_code_is_refused_and_not_run(self):
        for legacy in (False, True):
            made = self.folder / "made-by-the-pickle"
            self.save({"a": RunsCode(made)}, _use_new_zipfile_serialization=not legacy)
            self.assert_refused("holds something other than tensors")
            self.assertFalse(made.exists())

    def test_a_bare_pickle_is_refused(self):
        made = self.folder / "made-by-the-pickle"
        (self.folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": RunsCode(made)}))
        self.assert_refused("pytorch_model.bin")
        self.assertFalse(made.exists())

    def test_what_is_no_tensor_is_refused(self):
        for state, why in [({"a": 3}, "'a' is no dense tensor but int"),
                           ({"a": {"b": torch.ones(2)}}, "'a' is no dense tensor but dict"),
                           ({7: torch.ones(2)}, "the key 7"),
                           ([torch.ones(2)], "must hold a dictionary of tensors, not list"),
                           ({}, "an empty one"),
                           ({"a": torch.eye(2).to_sparse()}, "no dense tensor"),
                           ({"a": torch.ones(2, dtype=torch.int64)}, "'a' is of torch.int64")]:
            self.save(state)
            self.assert_refused(why)

    def test_a_cut_off_file_is_refused(self):
        self.save(self.weights())
        path = self.folder / "pytorch_model.bin"
        path.write_bytes(path.read_bytes()[:-200])
        self.assert_refused("pytorch_model.bin")

    def test_shards_that_disagree_with_the_index(self):
        self.save({"a": torch.ones(2)}, "one.bin")
        self.save({"b": torch.ones(2)}, "two.bin")
        self.index({"a": "one.bin", "b": "one.bin", "c": "two.bin"})
        self.assert_refused("the index says that 'b' is in one.bin")
        self.index({"a": "one.bin", "b": "two.bin"})
        self.save({"b": torch.ones(2), "d": torch.ones(2)}, "two.bin")
        self.assert_refused("two.bin holds 'd', which the index lacks")
        self.save({"b": torch.ones(2), "a": torch.ones(2)}, "two.bin")
        self.assert_refused("'a' was already in another shard")

    def test_does_not_overwrite_unasked(self):
        self.save(self.weights())
        (self.folder / "model.safetensors").write_bytes(b"mine")
        self.assert_refused("already has model.safetensors")
        self.assertEqual((self.folder / "model.safetensors").read_bytes(), b"mine")
        self.assertEqual(convert(self.folder, "--force").returncode, 0)
        self.assertNotEqual((self.folder / "model.safetensors").read_bytes(), b"mine")


def run(case):
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    return unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful()


def main():
    passed = run(WithoutTorch)
    if torch is None:
        print("NOT RUN: the tests that convert, since this Python has no PyTorch "
              "(pip install torch)", file=sys.stderr)
        return SKIPPED if passed else 1
    return 0 if run(WithTorch) and passed else 1


if __name__ == "__main__":
    sys.exit(main())
