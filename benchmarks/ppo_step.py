"""A PPO step of ours against the naive way: seconds and peak memory, on the same answers.

    python benchmarks/ppo_step.py                  the embedded model, and random weights of about 60 M
    python benchmarks/ppo_step.py --models tiny    the embedded model alone
    python benchmarks/ppo_step.py --rehearse       the GPU part as well, on a toy model on the CPU

The naive way (naive_ppo.py) has three whole models, answers padded to 512 columns, all logits, and encodes
the pictures anew in every pass. It scores and learns from the answers that ours sampled, from the same
start, so that the policy losses of the first step must agree; after it the critics differ. Judging is the
same work on both sides and left out. Each side runs in a process of its own: its peak memory is what it
holds beyond the interpreter and the data. Where there is a CUDA device, a third part steps a model of
LLaVA-1.5-7B's shape in bf16. Prints lines for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Nothing large here: on Linux a process starts with its parent's peak.
if TYPE_CHECKING:
    from ucbench.align.data import TrainingSet
    from ucbench.align.rollout import Rollout
    from ucbench.align.settings import PPOSettings
    from ucbench.judges.base import Judge
    from ucbench.models.registry import Base

NAMES = {"tiny": "embedded:tiny-vlm", "mid": "random LLaVA, about 60 M parameters"}
PARTS = ("sample", "score", "update")


@dataclass(frozen=True)
class Step:
    """What one step of ours did; `places` are the minibatches, `losses` the policy loss of each update."""

    times: dict[str, float]
    rollouts: list[Rollout]
    scores: list[float]
    places: list[list[int]]
    losses: list[float]


class Ours:
    """The parts of `ucbench.align.loop` on one process."""

    def __init__(self, base: Base, data: TrainingSet, s: PPOSettings, judge: Judge) -> None:
        import torch

        from ucbench.align.policy import Policy
        from ucbench.align.reward import Reward

        torch.manual_seed(s.seed)
        self.policy, self._data, self._s = Policy(base, s), data, s
        with torch.no_grad():  # an adapter that does something, so that the reference is another model
            for name, parameter in self.policy.trainable().items():
                if "lora_B" in name:
                    parameter.normal_(0, 0.01)
        self._reward = Reward(s.reward, judge, s.max_new_tokens)
        self._optimiser = torch.optim.AdamW(self.policy.groups(), weight_decay=s.weight_decay)

    def step(self, number: int) -> Step:
        import torch

        from ucbench.align import loop, rollout
        from ucbench.record import Decoding

        s, policy = self._s, self.policy
        draws = self._data.batch(number, s.batch_size, s.seed)
        decoding = Decoding(temperature=s.temperature, max_new_tokens=s.max_new_tokens, seed=s.seed)
        clock, times = now(), {}
        rollouts = rollout.sample(
            policy, draws, decoding=decoding, step=number, at_once=4 * s.micro_batch_size
        )
        times["sample"] = now() - clock
        asked = [(r.draw.item.sample, r.draw.question) for r in rollouts]
        labels = [r.draw.item.label for r in rollouts]
        scores = self._reward(asked, [r.written for r in rollouts], labels).total
        potentials = loop._potentials(policy, self._reward, rollouts, s.judge_every)

        clock = now()
        places = loop._minibatches(len(rollouts), s.minibatches)
        minibatches = [
            [
                loop._score(
                    policy, [rollouts[i] for i in part], scores[part], [potentials[i] for i in part], s
                )
                for part in loop._packs(own, rollouts, s.micro_batch_size)
            ]
            for own in places
        ]
        times["score"], clock = now() - clock, now()
        scored = [packed for packs in minibatches for packed in packs]
        loop._advantages(scored, s, s.reward.scale, lambda sums: sums)
        policy.updating(True)
        losses = []
        for packs in minibatches * s.ppo_epochs:
            total = float(sum(int(packed.pack.mask.sum()) for packed in packs))
            sums: dict[str, float] = dict.fromkeys(
                ("loss", "policy_loss", "value_loss", "clip_fraction", "entropy", "ratio"), 0.0
            )
            for packed in packs:
                loop._loss(policy, packed, s, s.reward.scale, total, sums).backward()
            torch.nn.utils.clip_grad_norm_(policy.trainable().values(), s.grad_clip)
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
            losses.append(sums["policy_loss"])
        policy.updating(False)
        times["update"] = now() - clock
        return Step(times, rollouts, scores.tolist(), places, losses)


def now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak() -> int:
    """Bytes that this process held at most."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def tiny_settings(options: argparse.Namespace) -> PPOSettings:
    from ucbench.align import settings

    s = settings.load(
        "ppo",
        "tiny",
        batch_size=options.batch_size,
        micro_batch_size=options.micro_batch_size,
        max_new_tokens=options.max_new_tokens,
        # The critics differ; a common norm would let them into the policy's gradient.
        grad_clip=1e9,
        judge_every=0,  # the naive way has no such baseline
    )
    assert isinstance(s, settings.PPOSettings)
    return s


def run_ours(options: argparse.Namespace) -> dict[str, Any]:
    import peft  # noqa: F401 - part of what both sides hold
    import torch

    from ucbench.align.data import training_set
    from ucbench.judges import registry as judges
    from ucbench.models import registry
    from ucbench.tracks import registry as tracks

    s = tiny_settings(options)
    data = training_set(tracks.load("pictograms"))
    judge = judges.load(s.reward.judge)
    before = peak()
    ours = Ours(registry.load_base(options.folder, device="cpu"), data, s, judge)
    start = {
        name.removeprefix("peft."): p.detach().clone()
        for name, p in ours.policy.trainable().items()
        if "lora_" in name
    }
    steps = [ours.step(number) for number in range(options.steps)]
    torch.save(
        {
            "start": start,
            "threads": torch.get_num_threads(),
            "steps": [
                {"answers": [r.answer for r in t.rollouts], "scores": t.scores, "places": t.places}
                for t in steps
            ],
        },
        Path(options.scratch) / "answers.pt",
    )
    return {
        "peak": peak() - before,
        "times": [t.times for t in steps],
        "losses": steps[0].losses,
        "tokens": sum(len(r.answer) for t in steps for r in t.rollouts) / options.steps,
    }


def run_naive(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from naive_ppo import NaivePPO

    from ucbench.align.data import training_set
    from ucbench.tracks import registry as tracks

    s = tiny_settings(options)
    data = training_set(tracks.load("pictograms"))
    kept = torch.load(Path(options.scratch) / "answers.pt", weights_only=True)
    torch.set_num_threads(kept["threads"])
    before = peak()
    naive = NaivePPO(Path(options.folder), s, kept["start"], options.pad_to)
    results = [
        naive.step(data.batch(number, s.batch_size, s.seed), t["answers"], t["scores"], t["places"])
        for number, t in enumerate(kept["steps"])
    ]
    return {"peak": peak() - before, "times": [times for _, times in results], "losses": results[0][0]}


def child(side: str, folder: str, scratch: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one side in a process of its own."""
    sizes = ("batch_size", "micro_batch_size", "max_new_tokens", "pad_to", "steps")
    command = [sys.executable, __file__, "--side", side, "--folder", folder, "--scratch", scratch]
    command += [part for size in sizes for part in (f"--{size.replace('_', '-')}", str(vars(options)[size]))]
    # Models come from folders; no library needs to look anything up.
    subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    result: dict[str, Any] = json.loads((Path(scratch) / f"{side}.json").read_text(encoding="utf-8"))
    return result


def compare(model: str, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        if model == "mid":
            folder = str(Path(scratch) / "model")
            child("make", folder, scratch, options)
        else:
            from ucbench.models.registry import EMBEDDED

            folder = str(EMBEDDED["embedded:tiny-vlm"])
        ours, naive = (child(side, folder, scratch, options) for side in ("ours", "naive"))
    mean = [
        {part: sum(times[part] for times in side["times"]) / options.steps for part in PARTS}
        for side in (ours, naive)
    ]
    fast, slow = (sum(times.values()) for times in mean)
    difference = max(abs(a - b) for a, b in zip(ours["losses"], naive["losses"], strict=True))
    largest = max(map(abs, ours["losses"]))
    parts = ", ".join(f"{part} {mean[1][part]:.2f} -> {mean[0][part]:.2f}" for part in PARTS)
    print(
        f"| PPO step against the naive way | {NAMES[model]} "
        f"| batch {options.batch_size} in micro-batches of {options.micro_batch_size}, "
        f"{ours['tokens']:.0f} answer tokens a step, padded to {options.pad_to}; mean of {options.steps} "
        f"| {slow:.2f} s -> {fast:.2f} s ({parts}) | {slow / fast:.1f}x "
        f"| {naive['peak'] / 2**20:.0f} MiB -> {ours['peak'] / 2**20:.0f} MiB "
        f"| policy losses of the first {len(ours['losses'])} updates, up to {largest:.2e}, differ by at most "
        f"{difference:.1e} |",
        flush=True,
    )


def seven_b_base(options: argparse.Namespace, device: str) -> Base:
    """LLaVA-1.5-7B's shape (a toy of it on a CPU), as `load_base` leaves a model."""
    from checkpoints import EMBEDDED, llava_shape

    from ucbench.models.registry import Base

    loaded = llava_shape(device, "toy" if options.rehearse else "7b")
    return Base(loaded, "random LLaVA-1.5-7B shape", None, EMBEDDED)


def large(options: argparse.Namespace, device: str) -> None:
    """Step times, tokens/s and memory by batch, up to the largest that fits."""
    import gc

    import torch

    from ucbench.align import settings
    from ucbench.align.data import training_set
    from ucbench.judges import registry as judges
    from ucbench.tracks import registry as tracks

    data, judge = training_set(tracks.load("pictograms")), judges.load("classifier")
    on_gpu = device == "cuda"
    limit = options.memory_gb * 10**9
    if on_gpu:
        memory = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / memory))
        where = f"{torch.cuda.get_device_name(0)}, at most {min(limit, memory) / 1e9:.0f} GB"
    else:
        where = "a toy on the CPU"
    print(f"LLaVA-1.5-7B shape, bf16, LoRA r 128, {options.large_new_tokens} new tokens, {where}")
    for recompute in (False, True):
        largest = size = 0
        ours = base = None
        try:
            base = seven_b_base(options, device)
            for size in options.large_batches:
                s = settings.load(
                    "ppo", "default", batch_size=size, micro_batch_size=size, reward__judge="classifier",
                    max_new_tokens=options.large_new_tokens, gradient_checkpointing=recompute,
                )  # fmt: skip
                assert isinstance(s, settings.PPOSettings)
                if ours is None:
                    ours = Ours(base, data, s, judge)
                ours._s = s
                ours.step(0)  # encodes the pictures, warms up
                if on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                step = ours.step(0)
                seconds = sum(step.times.values())
                tokens = sum(len(r.answer) for r in step.rollouts)
                held = f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if on_gpu else "not measured"
                parts = ", ".join(f"{part} {step.times[part]:.2f} s" for part in PARTS)
                print(
                    f"| recompute {'on' if recompute else 'off'} | batch {size} | {seconds:.2f} s ({parts}) "
                    f"| {tokens / seconds:.0f} answer tokens/s | peak {held} |",
                    flush=True,
                )
                largest = size
        except torch.OutOfMemoryError:
            print(f"| recompute {'on' if recompute else 'off'} | batch {size} does not fit |", flush=True)
        print(f"largest batch that fits with recompute {'on' if recompute else 'off'}: {largest}", flush=True)
        del ours, base
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description="a PPO step against the naive way")
    parser.add_argument("--models", nargs="*", choices=sorted(NAMES), default=["tiny", "mid"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--micro-batch-size", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--pad-to", type=int, default=512, help="columns of the naive way's answers")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--large-new-tokens", type=int, default=128)
    parser.add_argument("--large-batches", type=int, nargs="*", default=[4, 8, 16, 24, 32, 48, 64])
    parser.add_argument("--memory-gb", type=float, default=80.0, help="of the card that is to be filled")
    parser.add_argument("--rehearse", action="store_true", help="the GPU part with a toy on the CPU")
    for hidden in ("--side", "--folder", "--scratch"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()

    if options.side:
        if options.side == "make":
            from checkpoints import mid_size

            mid_size(Path(options.folder))
            result: dict[str, Any] = {}
        else:
            result = {"ours": run_ours, "naive": run_naive}[options.side](options)
        target = Path(options.scratch) / f"{options.side}.json"
        target.write_text(json.dumps(result), encoding="utf-8")
        return
    for model in options.models:
        compare(model, options)

    import torch

    if torch.cuda.is_available() and not options.rehearse:
        large(options, "cuda")
    elif options.rehearse:
        large(options, "cpu")
    else:
        print("LLaVA-1.5-7B shape: not run, there is no CUDA device here")


if __name__ == "__main__":
    main()
