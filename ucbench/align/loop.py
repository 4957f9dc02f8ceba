"""The PPO loop: sample, judge, score, advantage, update; one step after the other, top to bottom.

Every process runs it on its share of each batch. Sums over tokens are divided by the number of tokens in
the whole minibatch of all processes, so that one process and many compute the same step.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ucbench.align import checkpoint, ppo, rollout, schedule
from ucbench.align.data import Draw, TrainingSet
from ucbench.align.focus import Focus
from ucbench.align.output import Output, TrainLog
from ucbench.align.policy import Policy
from ucbench.align.probe import Probe
from ucbench.align.reward import Floats, Reward, Rewards
from ucbench.align.rollout import Pack, Rollout
from ucbench.align.settings import PPOSettings
from ucbench.align.trained import Trained
from ucbench.errors import UcbenchError
from ucbench.models.registry import Base
from ucbench.record import Decoding
from ucbench.types import SAFE, UNSAFE

if TYPE_CHECKING:
    from accelerate import Accelerator

#: Called after every step with (steps done, all steps, metrics).
Progress = Callable[[int, int, dict[str, float]], None]


class AlignmentStoppedError(UcbenchError):
    """Training ended before its time; the sentence names the last good checkpoint."""


@dataclass(slots=True)
class _Scored:
    """A pack with what the update needs; dense tensors are [n, A]."""

    pack: Pack
    rewards: Tensor
    potentials: Tensor
    old: Tensor
    reference: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


def train(
    base: Base,
    data: TrainingSet,
    settings: PPOSettings,
    *,
    out: Output,
    reward: Reward,
    probe: Probe | None = None,
    resume: bool = False,
    progress: Progress = lambda _step, _steps, _metrics: None,
) -> Trained:
    """Align a model with PPO; the base's own modules carry the adapter afterwards.

    Raises `AlignmentStoppedError` when a number stops being finite or the KL passes `max_kl`,
    `UcbenchError` for settings that do not fit together, `StoreError` when the folder cannot be written.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedType, set_seed

    s = settings
    accelerator = Accelerator(cpu=base.loaded.model.device.type == "cpu")
    rank, size = accelerator.process_index, accelerator.num_processes
    _check_batch(s, size)
    set_seed(s.seed)
    policy = Policy(base, s)
    adamw = torch.optim.AdamW(policy.groups(), weight_decay=s.weight_decay)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        if resume:
            raise UcbenchError("a run under DeepSpeed cannot be resumed; leave --resume out, or use ddp.yaml")
        engine = accelerator.state.deepspeed_plugin.deepspeed_config
        engine["train_micro_batch_size_per_gpu"] = s.micro_batch_size
        engine["gradient_clipping"] = s.grad_clip
    wrapped, optimiser = accelerator.prepare(policy, adamw)
    decoding = Decoding(temperature=s.temperature, max_new_tokens=s.max_new_tokens, seed=s.seed)
    steps = data.steps(s.batch_size, s.epochs)
    steps = min(steps, s.max_steps or steps)
    focus = Focus(data, s.focus, s.seed)
    identity = checkpoint.identity_of(base, data, s)

    step, answers, seconds, degenerate = 0, 0, 0.0, 0
    last: Any = None
    if resume and (kept := checkpoint.found(out.checkpoints)):
        last = kept[-1]
        state = checkpoint.restore(last, policy, optimiser, identity, rank)
        step, answers, seconds, degenerate = state.step, state.answers, state.seconds, state.degenerate
        reward.normaliser.restore(state.normaliser)
        focus.restore(state.focus)
    log = TrainLog(out.log, keep_steps=step) if accelerator.is_main_process else None

    def reduce(values: Tensor) -> Tensor:
        reduced: Tensor = accelerator.reduce(values, "sum")
        return reduced

    def gather(values: Floats) -> Floats:
        joined = accelerator.gather(torch.from_numpy(values).to(policy.device))
        return np.asarray(joined.cpu().numpy(), dtype=np.float64)

    def stop(why: str) -> AlignmentStoppedError:
        where = f"the last good checkpoint is {last}" if last else "no checkpoint was written yet"
        return AlignmentStoppedError(f"stopped at step {step + 1}: {why}; {where}")

    try:
        while step < steps:
            clock, times = time.perf_counter(), dict[str, float]()
            sums: dict[str, float] = defaultdict(float)

            # 1. Sample: one answer to each question of this process's share of the batch.
            batch = focus.batch(step, s.batch_size)
            draws = _share(batch, rank, size)
            rollouts = rollout.sample(
                policy, draws, decoding=decoding, step=step, at_once=4 * s.micro_batch_size
            )
            clock, times["sample"] = _lap(clock)

            # 2. Judge: a reward for each answer.
            asked = [(r.draw.item.sample, r.draw.question) for r in rollouts]
            labels = [r.draw.item.label for r in rollouts]
            rewards = reward(asked, [r.written for r in rollouts], labels, gather)
            potentials = _potentials(policy, reward, rollouts, s.judge_every)
            focus.update(batch, gather(rewards.right.astype(np.float64)))
            if step + 1 < steps:
                coming = _share(focus.batch(step + 1, s.batch_size), rank, size)
                policy.pictures.prefetch(draw.item.sample for draw in coming)
            clock, times["judge"] = _lap(clock)

            # 3. Score: log probabilities of policy and reference, and values, before any update.
            minibatches = [
                [
                    _score(
                        policy,
                        [rollouts[i] for i in places],
                        rewards.total[places],
                        [potentials[i] for i in places],
                        s,
                    )
                    for places in _packs(places, rollouts, s.micro_batch_size)
                ]
                for places in _minibatches(len(rollouts), s.minibatches)
            ]
            scored = [pack for packs in minibatches for pack in packs]
            kl = _answer_kl(scored)
            clock, times["score"] = _lap(clock)

            # 4. Advantage: token rewards, generalised advantage estimation, whitening.
            flat = _advantages(scored, s, reward.settings.scale, reduce)
            degenerate += int(rewards.degenerate or flat)
            mean_kl = float(reduce(kl.sum())) / s.batch_size
            if s.max_kl is not None and not mean_kl <= s.max_kl:
                raise stop(
                    f"the KL to the starting model is {mean_kl:.1f} nats an answer, above {s.max_kl:g}; "
                    "raise --kl or lower --lr"
                )

            # 5. Update: clipped policy loss, clipped value loss, entropy bonus; whole minibatches at a time.
            rate = schedule.rate(step, steps, s)
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * rate
            policy.updating(True)
            updates = 0
            for _ in range(s.ppo_epochs):
                for packs in minibatches:
                    total = float(reduce(torch.stack([packed.pack.mask.sum() for packed in packs]).sum()))
                    for packed in packs:
                        with _synced(accelerator, wrapped, final=packed is packs[-1]):
                            loss = _loss(wrapped, packed, s, reward.settings.scale, total, sums)
                            # Gradients are averaged over processes; the loss is a share of a global sum.
                            accelerator.backward(loss * size)
                    norm = float(accelerator.clip_grad_norm_(policy.trainable().values(), s.grad_clip))
                    if not math.isfinite(norm):
                        raise stop("the gradient is not finite; lower --lr")
                    optimiser.step()
                    optimiser.zero_grad(set_to_none=True)
                    sums["grad_norm"] += norm / size
                    updates += 1
            policy.updating(False)
            clock, times["update"] = _lap(clock)

            # 6. Report, look at held-back pictures, keep a checkpoint.
            step += 1
            answers += s.batch_size
            seconds += sum(times.values())
            metrics = _metrics(rollouts, rewards, scored, kl, sums, updates, reduce, s)
            metrics |= {"lr": s.lr * rate, "degenerate_batches": float(degenerate)}
            metrics |= {f"seconds_{name}": value for name, value in times.items()}
            metrics["tokens_per_second"] = metrics["length"] * s.batch_size / sum(times.values())
            if torch.cuda.is_available():
                metrics["peak_memory_bytes"] = float(torch.cuda.max_memory_allocated())
            if probe and s.probe_every and accelerator.is_main_process and step % s.probe_every == 0:
                metrics |= probe()
            if log:
                epoch = step * s.batch_size / len(data.items)
                log.append({"step": step, "epoch": round(epoch, 4), "answers": answers, **metrics})
            progress(step, steps, metrics)
            if step % s.checkpoint_every == 0 or step == steps:
                state = checkpoint.State(
                    step, answers, seconds, degenerate, reward.normaliser.state(), focus.state(), identity
                )
                last = checkpoint.save(out.checkpoints, policy, optimiser, state, accelerator)
    finally:
        policy.updating(False)
        policy.pictures.close()
        if log:
            log.close()
    n_trainable = sum(p.numel() for p in policy.trainable().values())
    return Trained(policy.peft, steps, answers, n_trainable, seconds)


def _check_batch(s: PPOSettings, size: int) -> None:
    pairs = 2 if s.minibatches > 1 else 1
    unit = pairs * s.minibatches * size
    if s.batch_size % unit:
        raise UcbenchError(
            f"--batch-size {s.batch_size} must be a multiple of {unit}, so that {s.minibatches} minibatches "
            f"on {size} processes get equal shares"
        )


def _share(draws: Sequence[Draw], rank: int, size: int) -> Sequence[Draw]:
    """A process's consecutive part of a batch."""
    each = len(draws) // size
    return draws[rank * each : (rank + 1) * each]


def _minibatches(n: int, count: int) -> list[list[int]]:
    """Places by minibatch: consecutive pairs, an unsafe and a safe item each, are dealt out in turn.

    A place's minibatch is the same however many processes share the batch.
    """
    if count == 1:
        return [list(range(n))]
    return [[place for place in range(n) if place // 2 % count == number] for number in range(count)]


def _packs(places: Sequence[int], rollouts: Sequence[Rollout], size: int) -> Iterator[list[int]]:
    """Places of like length together, so that little padding is computed."""
    ordered = sorted(places, key=lambda place: (rollouts[place].length, place))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _potentials(policy: Policy, reward: Reward, rollouts: Sequence[Rollout], every: int) -> list[Floats]:
    """For each token of each answer, what the judge made of the answer before it; 0 when it is not asked."""
    if not every:
        return [np.zeros(len(r.answer)) for r in rollouts]
    ends = [range(every, len(r.answer), every) for r in rollouts]
    texts = [[policy.read(r.answer[:end]) for end in own] for r, own in zip(rollouts, ends, strict=True)]
    margins = reward.margins(
        [(r.draw.item.sample, r.draw.question) for r in rollouts],
        texts,
        [r.draw.item.label for r in rollouts],
    )
    # Between two readings the last one stands.
    return [
        np.concatenate([[0.0], margin])[np.arange(len(r.answer)) // every]
        for r, margin in zip(rollouts, margins, strict=True)
    ]


@torch.no_grad()
def _score(
    policy: Policy,
    rollouts: Sequence[Rollout],
    totals: Floats,
    potentials: Sequence[Floats],
    s: PPOSettings,
) -> _Scored:
    pack = rollout.pack(
        rollouts,
        pad_id=policy.pad_id,
        device=policy.device,
        columns=s.max_new_tokens if s.pad_answers == "max" else None,
        count_pads=not s.mask_pads,
    )
    own = policy(pack)
    with policy.reference():
        reference = policy(pack, value=False)
    assert own.values is not None
    return _Scored(
        pack=pack,
        rewards=torch.tensor(totals, dtype=torch.float32, device=policy.device),
        potentials=_padded(potentials, pack.mask.shape[1]).to(policy.device),
        old=pack.dense(own.logprobs),
        reference=pack.dense(reference.logprobs),
        values=pack.dense(own.values),
        advantages=torch.empty(0),
        returns=torch.empty(0),
    )


def _padded(rows: Sequence[Floats], width: int) -> Tensor:
    """Rows of unlike length as one tensor [n, width], zero behind their ends."""
    padded = torch.zeros((len(rows), width))
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = torch.from_numpy(values)
    return padded


def _answer_kl(scored: Sequence[_Scored]) -> Tensor:
    """k3 summed over each answer's tokens, [n] over all packs, in nats."""
    return torch.cat([ppo.kl_k3(p.old, p.reference).sum(1) for p in scored])


def _advantages(scored: Sequence[_Scored], s: PPOSettings, scale: float, reduce: ppo.Reduce) -> bool:
    """Fill advantages and returns of all packs; returns whether there was nothing to whiten."""
    for p in scored:
        kl = ppo.KL[s.kl_estimator](p.old, p.reference)
        coefficient = s.kl * scale if s.kl_in == "reward" else 0.0
        rewards = ppo.token_rewards(p.rewards, kl, p.pack.mask, coefficient)
        if s.judge_every:
            rewards = ppo.shaped(rewards, p.potentials, p.pack.mask, s.gamma)
        p.advantages, p.returns = ppo.gae(rewards, p.values, p.pack.mask, s.gamma, s.lam)
    if not s.whiten:
        return False
    flat = torch.cat([p.advantages.reshape(-1) for p in scored])
    mask = torch.cat([p.pack.mask.reshape(-1) for p in scored])
    white, degenerate = ppo.whiten(flat, mask, reduce)
    parts = torch.split(white, [p.advantages.numel() for p in scored])
    for p, part in zip(scored, parts, strict=True):
        p.advantages = part.view(p.advantages.shape)
    return degenerate


@contextmanager
def _synced(accelerator: Accelerator, wrapped: Any, *, final: bool) -> Iterator[None]:
    """Gradients of all processes meet in the last backward pass of a minibatch only."""
    from accelerate.utils import DistributedType

    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # Its engine reads this flag in `backward`, and steps there.
        accelerator.gradient_state._set_sync_gradients(final)
        yield
    else:
        with nullcontext() if final else accelerator.no_sync(wrapped):
            yield


def _loss(
    wrapped: Any, p: _Scored, s: PPOSettings, scale: float, total: float, sums: dict[str, float]
) -> Tensor:
    """The pack's share of the minibatch's loss; adds its parts to `sums`."""
    new = wrapped(p.pack)
    logprobs, values, entropy = map(p.pack.dense, (new.logprobs, new.values, new.entropy))
    mask = p.pack.mask
    policy_part, clipped = ppo.policy_loss(logprobs, p.old, p.advantages, mask, s.clip, total)
    value_part = ppo.value_loss(values, p.values, p.returns, mask, s.value_clip, total)
    entropy_part = ppo.masked_mean(entropy, mask, total)
    loss = policy_part + s.value_coefficient * value_part - s.entropy * entropy_part
    if s.kl_in == "loss":
        loss = loss + s.kl * scale * ppo.masked_mean(
            ppo.KL[s.kl_estimator](logprobs, p.reference), mask, total
        )
    ratio = (logprobs - p.old).detach().exp()
    sums["loss"] += float(loss.detach())
    sums["policy_loss"] += float(policy_part.detach())
    sums["value_loss"] += float(value_part.detach())
    sums["clip_fraction"] += float(clipped) / total
    sums["entropy"] += float(entropy_part.detach())
    sums["ratio"] += float(ppo.masked_mean(ratio, mask, total))
    return loss


def _lap(since: float) -> tuple[float, float]:
    """(now, seconds since). Waits for the device, so that times belong to what they are named for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    now = time.perf_counter()
    return now, now - since


def _metrics(
    rollouts: Sequence[Rollout],
    rewards: Rewards,
    scored: Sequence[_Scored],
    kl: Tensor,
    sums: dict[str, float],
    updates: int,
    reduce: ppo.Reduce,
    s: PPOSettings,
) -> dict[str, float]:
    """One step's numbers over all processes: means over answers, over tokens, and over updates."""
    device = kl.device
    labels = [r.draw.item.label for r in rollouts]
    columns: dict[str, Any] = {
        "reward": rewards.total,
        **{f"reward_{name}": values for name, values in rewards.components.items()},
        "kl": kl.cpu().numpy(),
        "length": np.array([len(r.written.tokens) for r in rollouts], dtype=np.float64),
        "accuracy": rewards.right.astype(np.float64),
    }
    totals = reduce(torch.tensor([float(values.sum()) for values in columns.values()], device=device))
    metrics = {name: float(value) / s.batch_size for name, value in zip(columns, totals, strict=True)}
    for label, name in ((UNSAFE, "accuracy_unsafe"), (SAFE, "accuracy_safe")):
        hits = [right for right, own in zip(rewards.right, labels, strict=True) if own == label]
        hit, n = reduce(torch.tensor([float(sum(hits)), float(len(hits))], device=device)).tolist()
        metrics[name] = hit / n if n else math.nan
    # Means over updates; each is a share of a sum over all processes already.
    means = reduce(torch.tensor([sums[name] for name in sorted(sums)], device=device)) / updates
    metrics |= dict(zip(sorted(sums), means.tolist(), strict=True))
    values, returns, mask = (
        torch.cat([part.reshape(-1) for part in parts])
        for parts in zip(*((p.values, p.returns, p.pack.mask) for p in scored), strict=True)
    )
    metrics["explained_variance"] = ppo.explained_variance(values, returns, mask)
    return metrics
