"""What other programs make of a checkpoint's weights: llama.cpp's formats and bitsandbytes', with the numbers that
their codes stand for written out in FP32, so that they can be judged like any other weights. A module, not a program.
"""
import contextlib
import importlib.util
import sys

import numpy as np

from evaluation import Checkpoint, run

LLAMA_TYPES = ["Q8_0", "Q4_0", "Q4_K_M", "IQ4_XS"]
NF4_BLOCK, DYNAMIC_BLOCK = 64, 2048


def is_linear(name, shape):
    """Whether a tensor is a matrix of a layer: neither embeddings nor head, nor a norm."""
    return len(shape) == 2 and "embed_tokens" not in name and "lm_head" not in name


class LlamaWeights:
    """llama.cpp's GGUF files of a checkpoint of Llama, quantized by llama-quantize without an importance matrix."""

    def __init__(self, llama, checkpoint, folder):
        self._llama, self._checkpoint, self._folder = llama, checkpoint, folder
        sys.path.insert(0, str(llama.sources / "gguf-py"))
        import gguf
        self._gguf = gguf
        self._names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, checkpoint.config["num_hidden_layers"])

    def base(self, exact):
        """The FP32 file of `exact`, the checkpoint in FP32, in which every weight is where we look for it."""
        file = self._llama.convert(exact, self._folder / "f32.gguf", "f32")
        values = self.values(file)
        for name in self._checkpoint.shapes:
            if not np.array_equal(values(name), self._checkpoint.values(name)):
                sys.exit(f"error: {file}: {name} is not the checkpoint's")
        return file

    def quantized(self, base, type_name):
        """The file in one of llama.cpp's types, unless it is there, and its bytes of tensors."""
        file = self._folder / f"{type_name}.gguf"
        if not file.exists():
            self._quantize(base, file, type_name)
        return file, sum(int(tensor.n_bytes) for tensor in self._gguf.GGUFReader(file).tensors)

    def dequantized(self, file):
        """The FP32 file of the numbers of a quantized one, as llama.cpp itself computes them."""
        target = file.with_name(f"{file.stem}-f32.gguf")
        if not target.exists():
            self._quantize(file, target, "F32", "--allow-requantize")
        return target

    def _quantize(self, source, target, type_name, *options):
        partial = target.with_suffix(".partial")
        run(self._llama.programs / "llama-quantize", *options, source, partial, type_name)
        partial.rename(target)

    def values(self, file):
        """A function from a tensor's name in the checkpoint to its values in an FP32 file."""
        tensors = {tensor.name: tensor for tensor in self._gguf.GGUFReader(file).tensors}
        config = self._checkpoint.config
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}

        def values(name, _=None):
            found = tensors[self._names.get_name(name, try_suffixes=(".weight",))]
            if found.tensor_type != self._gguf.GGMLQuantizationType.F32:
                sys.exit(f"error: {file}: {found.name} is not FP32")
            result = found.data.reshape(self._checkpoint.shapes[name])
            for part, count in heads.items():
                if part in name:
                    # llama.cpp keeps the two halves of every head's rows interleaved.
                    result = result.reshape(count, -1, 2, result.shape[1]).swapaxes(1, 2).reshape(result.shape)
            return result
        return values


class BitsandbytesWeights:
    """bitsandbytes' NF4 or dynamic 8 bits, computed on the CPU, of the linear layers or, as AirLLM stores them, of
    every tensor. As a change for Checkpoint.write; counts the bytes of what bitsandbytes keeps.
    """
    NAMES = [(scheme, scope) for scheme in ("nf4", "int8-dynamic") for scope in ("linears", "every tensor")]

    @staticmethod
    def is_available():
        return importlib.util.find_spec("bitsandbytes") is not None

    def __init__(self, checkpoint: Checkpoint, scheme, scope):
        with contextlib.redirect_stdout(sys.stderr):
            import bitsandbytes.functional
            import torch
        self._functional, self._torch = bitsandbytes.functional, torch
        self._checkpoint, self._scheme, self._takes_all = checkpoint, scheme, scope == "every tensor"
        self.byte_count = 0

    def __call__(self, name, values):
        if not self._takes_all and not is_linear(name, values.shape):
            self.byte_count += self._checkpoint.byte_count(name)
            return values
        weights = self._torch.from_numpy(values.copy())
        if self._scheme == "nf4":
            codes, state = self._functional.quantize_nf4(weights, blocksize=NF4_BLOCK)
            found = self._functional.dequantize_nf4(codes, state)
        else:
            codes, state = self._functional.quantize_blockwise(weights, blocksize=DYNAMIC_BLOCK)
            found = self._functional.dequantize_blockwise(codes, state)
        self.byte_count += sum(tensor.numel() * tensor.element_size() for tensor in (codes, state.absmax, state.code))
        return found.numpy()
