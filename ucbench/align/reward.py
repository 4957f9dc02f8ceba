"""Rewards: named components per answer, and one total made of them.

    reward = scale * (classifier * n(log p(right label)) + length_bonus * tokens / max_new_tokens
                      - stop_penalty * [no end] - repetition_penalty * repeated trigrams)

`n` is the normaliser. With the fixed one, n(log p) = 1 + 2 max(log p, -floor) / floor lies in [-1, 1], and
a bounded length bonus goes only to answers whose right label has more than half of the probability: an
answer that is right never earns less than one that is wrong, whatever their lengths.
The paper (section 5.1 of arXiv 2507.11155) min-max normalises in the batch and pays 4 for length instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ucbench.align.settings import RewardSettings
from ucbench.errors import UcbenchError
from ucbench.judges.base import Item, Judge
from ucbench.types import SAFE, UNSAFE, Question, Sample

Floats = npt.NDArray[np.float64]
#: One question about one picture.
Asked = tuple[Sample, Question]
#: Joins the values of all processes, in the order of their ranks.
Gather = Callable[[Floats], Floats]

#: The least probability that a logarithm is taken of.
TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as it was sampled. `tokens` leaves the end token out; `ended` says that there was one."""

    text: str
    tokens: tuple[int, ...]
    ended: bool


#: One thing that is rewarded: (samples, answers, labels) -> one raw value an answer, shape [n], before weight
#: and normaliser.
Component = Callable[[Sequence[Asked], Sequence[Written], Sequence[str]], Floats]


class ClassifierReward:
    """log p(right label | answer): minus the cross-entropy of a judge, in nats (at most 0).

    Raises `UcbenchError` for a judge that gives no probabilities. An answer that a judge reads without its
    classifier (an empty one) has the probability 1 on the label it read.
    """

    def __init__(self, judge: Judge) -> None:
        probe = Item("probe", "probe", "image_alignment", "Is this image safe?", "Yes, it is safe.", SAFE)
        verdict = judge.judge([probe])[0]
        if verdict.probs is None or not {SAFE, UNSAFE} <= verdict.probs.keys():
            raise UcbenchError(
                f"the judge {judge.name} gives no probabilities of Safe and Unsafe, so it cannot reward; "
                "use classifier or classifier:official"
            )
        self._judge = judge
        self.judge_id = judge.id

    def __call__(self, samples: Sequence[Asked], answers: Sequence[Written], labels: Sequence[str]) -> Floats:
        """Shape [n], in [log TINY, 0]."""
        items = [
            Item(sample.id, question.id, question.kind, question.text, answer.text, label, question.options)
            for (sample, question), answer, label in zip(samples, answers, labels, strict=True)
        ]
        shares = [
            (verdict.probs or {verdict.label: 1.0}).get(label, 0.0)
            for verdict, label in zip(self._judge.judge(items), labels, strict=True)
        ]
        return np.log(np.maximum(np.array(shares, dtype=np.float64), TINY))

    def margins(
        self, samples: Sequence[Asked], texts: Sequence[Sequence[str]], labels: Sequence[str]
    ) -> list[Floats]:
        """p(right label) - p(wrong one) of several texts a question, each in [-1, 1]; 0 for an empty one."""
        # Answers begin alike, so each beginning is read once. Nothing is remembered from step to step: the
        # last bits of a reading depend on what is read along with it, and a resumed run has no memory.
        distinct = {
            (question.text, text): Item(sample.id, question.id, question.kind, question.text, text, SAFE)
            for (sample, question), own in zip(samples, texts, strict=True)
            for text in own
        }
        verdicts = self._judge.judge(list(distinct.values()))
        read = {
            key: (verdict.probs or {}).get(SAFE, 0.0) - (verdict.probs or {}).get(UNSAFE, 0.0)
            for key, verdict in zip(distinct, verdicts, strict=True)
        }
        return [
            np.array([read[question.text, text] for text in own]) * (1.0 if label == SAFE else -1.0)
            for (_, question), own, label in zip(samples, texts, labels, strict=True)
        ]


def length(max_new_tokens: int) -> Component:
    """tokens / max_new_tokens, in [0, 1]."""

    def measure(_samples: Sequence[Asked], answers: Sequence[Written], _labels: Sequence[str]) -> Floats:
        return np.array([len(a.tokens) / max_new_tokens for a in answers], dtype=np.float64)

    return measure


def unended(_samples: Sequence[Asked], answers: Sequence[Written], _labels: Sequence[str]) -> Floats:
    """1 for an answer that was cut at the token limit, else 0."""
    return np.array([float(not a.ended) for a in answers], dtype=np.float64)


def repetition(_samples: Sequence[Asked], answers: Sequence[Written], _labels: Sequence[str]) -> Floats:
    """Share of an answer's trigrams of tokens that occurred in it before, in [0, 1)."""
    return np.array([_repeated(a.tokens) for a in answers], dtype=np.float64)


def _repeated(tokens: Sequence[int]) -> float:
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return 1.0 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


@dataclass(frozen=True, slots=True)
class Rewards:
    """`total` [n]; `components`: name -> raw values [n]; `right` [n]: right label above one half."""

    total: Floats
    components: dict[str, Floats]
    right: npt.NDArray[np.bool_]
    degenerate: bool
    """All classifier values of the batch are equal, or below the floor: nothing tells its answers apart."""


class Reward:
    """The sum that a preset composes of the components above."""

    def __init__(self, settings: RewardSettings, judge: Judge, max_new_tokens: int) -> None:
        self.settings = settings
        self._classifier = ClassifierReward(judge)
        self._components: dict[str, Component] = {
            "classifier": self._classifier,
            "length": length(max_new_tokens),
            "unended": unended,
            "repetition": repetition,
        }
        self.normaliser = Normaliser(settings)

    @property
    def judge_id(self) -> str:
        """The judge that rewards."""
        return self._classifier.judge_id

    def __call__(
        self,
        samples: Sequence[Asked],
        answers: Sequence[Written],
        labels: Sequence[str],
        gather: Gather = lambda values: values,
    ) -> Rewards:
        """Rewards of this process's answers; normalisers look at those of all processes."""
        raw = {name: component(samples, answers, labels) for name, component in self._components.items()}
        s = self.settings
        right = raw["classifier"] > np.log(0.5)
        everyone = gather(raw["classifier"])
        paid = np.where(right, raw["length"], 0.0) if s.length_bonus_bounded else raw["length"]
        total = s.scale * (
            s.classifier * self.normaliser(raw["classifier"], everyone)
            + s.length_bonus * paid
            - s.stop_penalty * raw["unended"]
            - s.repetition_penalty * raw["repetition"]
        )
        degenerate = bool(np.ptp(np.maximum(everyone, -s.floor)) == 0.0)
        return Rewards(total, raw, right, degenerate)

    def margins(
        self, samples: Sequence[Asked], texts: Sequence[Sequence[str]], labels: Sequence[str]
    ) -> list[Floats]:
        """What the judge makes of unfinished answers, on the scale of the total; one array a question."""
        weight = self.settings.scale * self.settings.classifier
        return [weight * margin for margin in self._classifier.margins(samples, texts, labels)]


class Normaliser:
    """Puts log probabilities on a scale; finite for any batch, one answer or all equal included.

    `running` subtracts the mean of all values seen so far and divides by their standard deviation
    (Chan et al. 1983, batch by batch); its state is part of a checkpoint.
    """

    def __init__(self, settings: RewardSettings) -> None:
        self._kind = settings.normaliser
        self._floor = settings.floor
        self._n, self._mean, self._squares = 0, 0.0, 0.0

    def __call__(self, values: Floats, everyone: Floats) -> Floats:
        """`values` [n] of this process, `everyone` [m] of all processes together."""
        values = np.maximum(values, -self._floor)
        everyone = np.maximum(everyone, -self._floor)
        if self._kind == "fixed":
            return 1.0 + 2.0 * values / self._floor
        if self._kind == "batch_min_max":
            low, spread = float(everyone.min()), float(np.ptp(everyone))
            scaled: Floats = (values - low) / (spread or 1.0)
            return scaled
        self._update(everyone)
        deviation = math.sqrt(self._squares / self._n)
        return (values - self._mean) / max(deviation, 1e-8)

    def _update(self, values: Floats) -> None:
        n, mean = len(values), float(values.mean())
        delta, total = mean - self._mean, self._n + n
        self._squares += float(((values - mean) ** 2).sum()) + delta**2 * self._n * n / total
        self._mean += delta * n / total
        self._n = total

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"n": self._n, "mean": self._mean, "squares": self._squares}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a kept state."""
        self._n, self._mean = int(state["n"]), float(state["mean"])
        self._squares = float(state["squares"])
