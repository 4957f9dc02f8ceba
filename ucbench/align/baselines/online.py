"""GRPO and RLOO: several sampled answers to each question, rewarded as PPO's are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from ucbench.align import lora
from ucbench.align.baselines.places import Images, places
from ucbench.align.baselines.plan import Plan
from ucbench.align.baselines.trainer import Maker, Ours
from ucbench.align.data import Draw, TrainingSet
from ucbench.align.reward import Floats, Reward, Written
from ucbench.align.settings import GRPOSettings, OnlineSettings
from ucbench.models.decode import stop_ids
from ucbench.models.registry import Base


class _GRPO(Ours, GRPOTrainer):  # type: ignore[misc]
    pass


class _RLOO(Ours, RLOOTrainer):  # type: ignore[misc]
    pass


def maker(base: Base, data: TrainingSet, settings: OnlineSettings, plan: Plan, reward: Reward) -> Maker:
    """Makes the trainer of the settings' method."""
    draws = plan.draws(data)
    rewarded, image = _Rewarded(base, draws, reward), Images()

    def example(place: int) -> dict[str, Any]:
        draw = draws[place]
        content = [{"type": "image"}, {"type": "text", "text": draw.question.text}]
        prompt = [{"role": "user", "content": content}]
        return {"prompt": prompt, "images": [image(draw.item.sample)], "place": place}

    def examples(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [example(row["place"]) for row in rows]

    def make(shared: dict[str, Any], callbacks: list[TrainerCallback]) -> Any:
        if isinstance(settings, GRPOSettings):
            # Divided by the deviation of its own group, the length of answers that are all right would
            # weigh as much as being right.
            config, trainer, own = GRPOConfig, _GRPO, {"scale_rewards": "batch"}
        else:
            config, trainer, own = RLOOConfig, _RLOO, {}
        args = config(
            **shared,
            **own,
            beta=settings.kl,
            num_generations=settings.generations,
            max_completion_length=settings.max_new_tokens,
            temperature=settings.temperature,
            num_iterations=1,
            shuffle_dataset=False,
            disable_dropout=True,
        )
        made = trainer(
            model=base.loaded.model,
            args=args,
            reward_funcs=[rewarded],
            train_dataset=places(plan),
            processing_class=base.loaded.processor,
            peft_config=lora.config(base, settings.lora),
            callbacks=callbacks,
        )
        made.data_collator = examples
        return made

    return make


class _Rewarded:
    """Our reward in the shape that TRL calls."""

    def __init__(self, base: Base, draws: Sequence[Draw], reward: Reward) -> None:
        self._tokenizer = base.loaded.processor.tokenizer
        self._stop_ids = stop_ids(base.loaded.model, self._tokenizer)
        self._draws, self._reward = draws, reward

    def __call__(
        self, *, completion_ids: list[list[int]], place: list[int], log_metric: Any, **_: Any
    ) -> list[float]:
        """One reward an answer; raw components and shares of right answers go to the log."""
        draws = [self._draws[number] for number in place]
        answers = [self._written(tokens) for tokens in completion_ids]
        rewards = self._reward(
            [(draw.item.sample, draw.question) for draw in draws],
            answers,
            [draw.item.label for draw in draws],
            _gather,
        )
        columns = {f"reward_{name}": values for name, values in rewards.components.items()}
        columns["length"] = np.array([len(answer.tokens) for answer in answers], dtype=np.float64)
        columns["accuracy"] = rewards.right.astype(np.float64)
        labels = np.array([draw.item.label for draw in draws])
        for label in set(labels.tolist()):
            columns[f"accuracy_{label.lower()}"] = columns["accuracy"][labels == label]
        # TRL averages whatever was logged under a name: value by value, it is the mean over all answers.
        for name, values in columns.items():
            for value in values.tolist():
                log_metric(name, value)
        log_metric("degenerate", float(rewards.degenerate))
        return [float(value) for value in rewards.total]

    def _written(self, tokens: Sequence[int]) -> Written:
        ended = bool(tokens) and tokens[-1] in self._stop_ids
        own = tuple(tokens[:-1] if ended else tokens)
        text = str(self._tokenizer.decode(own, skip_special_tokens=True)).strip()
        return Written(text, own, ended)


def _gather(values: Floats) -> Floats:
    return np.array(gather_object(values.tolist()), dtype=np.float64)
