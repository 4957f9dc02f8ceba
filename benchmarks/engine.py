"""Images and tokens a second of the local engine, its ways of asking compared, and how far off the floor.

    python benchmarks/engine.py                    with CUDA: LLaVA-1.5-7B's shape in bfloat16, 200 images
                                                   without: the same architecture with about 80 M parameters
    python benchmarks/engine.py --rehearse         the GPU's part with a toy on the CPU

Every image has six questions, as on the official track: perception, and the five of alignment. The slow ways
are measured on a sample of the images. Weights are random; no answer ends before the last token.

The floor is what arithmetic and memory of this device allow at best when an answer is worked out this way:
prompts at the peak of its matrix units, and each decoding step reading all weights and the keys and values of
its rows once. Its peak is the maker's, or measured in the same run. Prints a Markdown table for RESULTS.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from checkpoints import llava_shape
from naive import OneAtATime
from PIL import Image

from ucbench import taxonomy
from ucbench.models.families.base import BATCHED, SHARED_PREFIX
from ucbench.models.local import LocalVLM
from ucbench.record import Decoding, Entry
from ucbench.tracks import questions
from ucbench.types import Question, Sample

#: (16-bit FLOP/s without sparsity, bytes/s) as the makers state them, by words of the device's name; the
#: first that fits counts, so that variants stand before the general name.
PEAKS = {
    ("H200",): (989e12, 4.8e12),
    ("H100", "PCIe"): (756e12, 2.0e12),
    ("H100", "NVL"): (835e12, 3.9e12),
    ("H100",): (989e12, 3.35e12),
    ("A100", "40GB"): (312e12, 1.555e12),
    ("A100", "80GB"): (312e12, 2.0e12),
    ("L40S",): (362e12, 0.864e12),
    ("L4",): (121e12, 0.3e12),
}


NAIVE = "naive loop"


@dataclass(frozen=True)
class Noise:
    """A picture of coloured squares from a seed, of a usual photograph's size."""

    seed: int

    def load(self) -> Image.Image:
        import numpy as np

        squares = np.random.default_rng(self.seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return Image.fromarray(squares).resize((640, 480), Image.Resampling.NEAREST)


@dataclass(frozen=True)
class Timing:
    """What a way of asking took for `images` images; `peak` is GPU memory in bytes, the weights included."""

    way: str
    images: int
    answers: int
    tokens: int
    seconds: float
    peak: int | None
    floor: float


def work(images: int) -> list[Sample]:
    names = [concept.name for concept in taxonomy.concepts()]
    samples = []
    for number in range(images):
        options = tuple(names[(number + 19 * place) % len(names)] for place in range(4))
        texts = (questions.perception(options), *questions.IMAGE_ALIGNMENT)
        asked = tuple(Question(f"q{i}", "general", f"q{i}", text, "c", "A") for i, text in enumerate(texts))
        samples.append(Sample(f"s{number}", Noise(number), "test", asked))
    return samples


@dataclass(frozen=True)
class Cost:
    """What one model and one kind of question cost, in numbers of operations and bytes.

    layers        weights that every token of a prompt passes
    language      weights that a decoding step reads: those and the output layer
    attended      FLOP for each pair of tokens of which one looks at the other, halved
    picture       FLOP of encoding a picture
    element       bytes of a weight
    token_bytes   of the keys and values of a token
    prompt        tokens of a prompt, on average; `prefix` of them are shared by a picture's questions
    """

    layers: int
    language: int
    attended: int
    picture: int
    element: int
    token_bytes: int
    prompt: float
    prefix: int

    @classmethod
    def of(cls, vlm: LocalVLM, sample: Sample) -> Cost:
        """Counted on the model itself; one sample stands for all."""
        model = vlm.model
        text = model.config.get_text_config()
        picture = vlm._inputs.picture(sample.image.load(), [question.text for question in sample.questions])
        lengths = [len(tokens) for tokens in picture.prompts.values()]
        vision = sum(p.numel() for n, p in model.named_parameters() if "vision_tower" in n)
        embedded = model.get_input_embeddings().weight.numel()
        language = sum(p.numel() for p in model.parameters()) - vision - embedded
        patches = (model.config.vision_config.image_size // model.config.vision_config.patch_size) ** 2 + 1
        head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        element = model.dtype.itemsize
        return cls(
            # Of a prompt, the output layer sees the last token alone.
            layers=language - model.get_output_embeddings().weight.numel(),
            language=language,
            attended=2 * text.num_hidden_layers * text.num_attention_heads * head,
            picture=2 * vision * patches,
            element=element,
            token_bytes=2 * text.num_hidden_layers * text.num_key_value_heads * head * element,
            prompt=sum(lengths) / len(lengths),
            prefix=picture.shared,
        )

    def prefill(self, tokens: float, before: float = 0) -> float:
        """FLOP of running tokens through the language model, after `before` others."""
        return 2 * self.layers * tokens + self.attended * tokens * (tokens + 2 * before)

    def asking(self, way: str, images: int, rows: int) -> float:
        """FLOP until the first new token of every row is known."""
        if way == SHARED_PREFIX:
            shared = self.picture + self.prefill(self.prefix)
            return images * shared + rows * self.prefill(self.prompt - self.prefix, self.prefix)
        return rows * (self.picture + self.prefill(self.prompt))

    def reading(self, rows: int, batch: int, new: int) -> float:
        """Bytes that the steps after the first token read, `new` tokens a row in all."""
        held = rows * (self.prompt + new / 2) * self.token_bytes
        return (new - 1) * (-(-rows // batch) * self.language * self.element + held)


def peaks(device: str, dtype: Any) -> tuple[float, float, str]:
    """(FLOP/s, bytes/s, where they are from): the maker's figures, else measured here."""
    import torch

    on_gpu = device.startswith("cuda")
    if on_gpu and (stated := stated_peaks(torch.cuda.get_device_name(device))):
        return *stated, "the maker's peak"
    side = 8192 if on_gpu else 1024
    left = torch.randn(side, side, device=device, dtype=dtype)
    flops = 2 * side**3 / best(lambda: left @ left, device)
    block = torch.ones(64 << 20, device=device)
    bandwidth = block.nbytes / best(block.sum, device)
    return flops, bandwidth, f"measured here ({flops / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s)"


def stated_peaks(name: str) -> tuple[float, float] | None:
    """What the maker states for a device of that name, where it is known."""
    words = name.replace("-", " ").split()
    return next((peak for needed, peak in PEAKS.items() if set(needed) <= set(words)), None)


def best(call: Callable[[], object], device: str) -> float:
    """The shortest of some runs, in seconds."""
    times = []
    for _ in range(5):
        wait(device)
        begin = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - begin)
    return min(times)


def wait(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def measure(way: str, ask: Callable[[], int], samples: Sequence[Sample], floor: float, device: str) -> Timing:
    """`ask` answers all samples and returns the number of new tokens."""
    import torch

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    wait(device)
    begin = time.perf_counter()
    tokens = ask()
    wait(device)
    seconds = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else None
    answers = sum(len(sample.questions) for sample in samples)
    return Timing(way, len(samples), answers, tokens, seconds, peak, floor)


def by_engine(vlm: LocalVLM, way: str, samples: Sequence[Sample], batch_size: int) -> int:
    vlm.use(way)
    return sum(a.tokens for batch in vlm.plan(samples, batch_size) for a in vlm.answer(batch))


HEAD = """\
| | work | time | images/s | tokens/s | GPU memory | ratio | time over the floor |
|---|---|---|---|---|---|---|---|"""


def row(timing: Timing, naive: Timing) -> str:
    rate = timing.images / timing.seconds
    peak = "not measured" if timing.peak is None else f"{timing.peak / 1e9:.1f} GB"
    times = timing.seconds / timing.floor
    return (
        f"| {timing.way} | {timing.images} images, {timing.answers} answers | {timing.seconds:.1f} s "
        f"| {rate:.3g} images/s | {timing.tokens / timing.seconds:.0f} tokens/s | {peak} "
        f"| {rate / (naive.images / naive.seconds):.1f}x | {times:.1f}x of {timing.floor:.2f} s |"
    )


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description="the engine's speed and its floor")
    parser.add_argument("--images", type=int, help="for the shared prefix; 200 with CUDA, else 20")
    parser.add_argument("--batched-images", type=int, help="for plain batches; 32 with CUDA, else 4")
    parser.add_argument("--naive-images", type=int, help="for the naive loop; 5 with CUDA, else 2")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--device", help="found out by default")
    parser.add_argument("--rehearse", action="store_true", help="a toy of the 7B shape on the CPU")
    options = parser.parse_args()

    device = options.device or ("cuda" if torch.cuda.is_available() and not options.rehearse else "cpu")
    on_gpu = device.startswith("cuda")
    images = options.images or (200 if on_gpu else 20)
    decoding = Decoding(max_new_tokens=options.max_new_tokens)
    size, dtype, name = (
        ("toy", "bfloat16", "a toy of LLaVA-1.5's shape")
        if options.rehearse
        else ("7b", "bfloat16", "random LLaVA-1.5-7B shape")
        if on_gpu
        else ("mid", "float32", "random LLaVA-1.5 shape, about 80 M parameters")
    )
    loaded = llava_shape(device, size, dtype)
    vlm = LocalVLM(loaded, Entry(model=name, dtype=loaded.dtype, decoding=decoding))
    asker = OneAtATime.of(loaded.model, loaded.processor, max_new_tokens=options.max_new_tokens)
    samples = work(images)
    flops, bandwidth, source = peaks(device, loaded.model.dtype)
    cost = Cost.of(vlm, samples[0])
    plan: list[tuple[str, int, int]] = [
        (NAIVE, options.naive_images or (5 if on_gpu else 2), 1),
        (BATCHED, options.batched_images or (32 if on_gpu else 4), options.batch_size),
        (SHARED_PREFIX, images, options.batch_size),
    ]
    timings = []
    for way, n, batch in plan:
        some = samples[:n]
        rows = sum(len(sample.questions) for sample in some)

        def ask(some: Sequence[Sample], way: str = way, batch: int = batch) -> int:
            if way == NAIVE:
                with torch.inference_mode():
                    return sum(reply.tokens for reply in asker(some).values())
            return by_engine(vlm, way, some, batch)

        if on_gpu:  # kernels and caches that are made once are in nobody's time
            ask(some[: -(-batch // len(some[0].questions))])
        least = cost.asking(way, len(some), rows) / flops
        least += cost.reading(rows, batch, options.max_new_tokens) / bandwidth
        timings.append(measure(way, partial(ask, some), some, least, device))
    where = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{name}, {loaded.dtype}, {where}, torch {torch.__version__}; prompts of {cost.prompt:.0f} tokens, "
        f"{cost.prefix} of them shared; {options.max_new_tokens} new tokens, batch {options.batch_size}; "
        f"floor at {source}\n\n{HEAD}"
    )
    for timing in timings:
        print(row(timing, timings[0]))


if __name__ == "__main__":
    main()
