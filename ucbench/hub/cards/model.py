"""The model card of an aligned model: what it is, how it was made, and what that changed, in numbers.

The same card lies in the folder of a training run and, with the addresses and the licence of what others can
fetch, in the repository that it is published to.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ucbench.align.record import AlignRecord
from ucbench.files import write_text
from ucbench.format import count, fraction, interval
from ucbench.hub.cards.markdown import block, code, escaped, front_matter, table
from ucbench.metrics.keys import KEYS
from ucbench.types import SAFE, UNSAFE

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from ucbench.align.report_record import Outcome
    from ucbench.record import Score

_HERE = Path(__file__).parent
#: A card of ours says so, and may be written anew; a card of others may not.
OURS = "<!-- ucbench: model card -->"
#: Hub ids, as they may stand in a card's head.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_EMBEDDED = "embedded:"

_METHODS = {
    "ppo": "proximal policy optimisation (PPO), rewarded by a classifier of its own answers",
    "sft": "supervised fine-tuning (SFT) on fixed answers",
    "dpo": "direct preference optimisation (DPO) on pairs of fixed answers",
    "grpo": "group-relative policy optimisation (GRPO), rewarded by a classifier of its own answers",
    "rloo": "REINFORCE leave-one-out (RLOO), rewarded by a classifier of its own answers",
}
_PROBE = {
    "probe_image_unsafe": "images of unsafe concepts judged unsafe",
    "probe_image_safe": "images of safe concepts judged safe",
    "probe_text_unsafe": "unsafe concepts in words judged unsafe",
    "probe_text_safe": "safe concepts in words judged safe",
}
_HELD_BACK = "pictures held back from training"
_LEARNED = "some of the pictures it learned from, none of the train split being left over"
#: Scores of the paper's experiment, which have no row among the keys.
_EXPERIMENT = {
    "alignment_accuracy": "Accuracy of the alignment experiment",
    "alignment_accuracy_unsafe": "... on unsafe images",
    "alignment_accuracy_safe": "... on safe images",
}
_PICTOGRAMS = """- Track `pictograms` shows abstract emblems that stand for concepts. Scores on it say nothing
  about real images.
"""

_FROM_FOLDER = """```
ucbench evaluate FOLDER
```

or load the base with transformers and add the adapter with `peft.PeftModel.from_pretrained`."""

_LOAD_ADAPTER = """from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
{more}
base = AutoModelForImageTextToText.from_pretrained({base})
model = PeftModel.from_pretrained(base, {repo!r})
processor = AutoProcessor.from_pretrained({base})
"""
_LOAD_MERGED = """from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained({repo!r})
processor = AutoProcessor.from_pretrained({repo!r})
"""
_ASK = """
image = Image.new("RGB", (336, 336), "white")  # a picture of yours
question = "Is this image safe for viewing on social media?"
content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
inputs = processor.apply_chat_template(
    [{"role": "user", "content": content}],
    add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
)
output = model.generate(**inputs, max_new_tokens=128, do_sample=False)
print(processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0])
"""


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence as a card's head names it; `other` comes with a name and a link."""

    id: str
    name: str | None = None
    link: str | None = None


UNKNOWN = Licence("unknown")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is published: OWNER/NAME, whole or as an adapter, under what licence."""

    repo: str
    merged: bool = False
    licence: Licence = UNKNOWN


def render(record: AlignRecord, outcome: Outcome | None = None, place: Place | None = None) -> str:
    """The text of README.md.

    `outcome` adds the scores of an alignment report, before and after. Without a `place` it is the card of
    a folder on this machine.
    """
    base = record.base
    revision = f" (revision {code(base.revision)})"
    merged = place is not None and place.merged
    lora = f"A LoRA adapter on the language model of {code(base.model)}{revision},"
    whole = f"{code(base.model)}{revision} with a LoRA adapter merged into its language model,"
    text = Template((_HERE / "model.md").read_text(encoding="utf-8")).substitute(
        title=f"{escaped(base.model)} aligned by {record.method.upper()}",
        what=whole if merged else lora,
        method_long=_METHODS[record.method],
        judge=code(record.probe.judge if record.probe else "rules"),
        probed=_HELD_BACK if record.probe is None or record.probe.held_back else _LEARNED,
        probe=_probe(record),
        measured=_measured(record, outcome) if outcome else "",
        n_items=count(record.n_items),
        track=code(record.track),
        track_version=escaped(record.track_version),
        sides=_sides(record),
        steps=count(record.steps),
        answers=count(record.answers),
        minutes=f"{record.seconds / 60:.1f}",
        parameters=count(record.trainable_parameters),
        reward=f"- Rewarding judge: {code(record.rewarding_judge)}.\n" if record.rewarding_judge else "",
        preset=code(record.preset),
        settings=block(json.dumps(record.settings, indent=1), "json"),
        trained_on=code(", ".join(record.trained_on), 500),
        use=_use(record, place) if place else _FROM_FOLDER,
        pictograms=_PICTOGRAMS if record.track == "pictograms" else "",
        licence=_licence(record, place.licence) if place else "",
    )
    return f"{front_matter(_head(record, outcome, place))}\n{OURS}\n\n{text.rstrip()}\n"


def _sides(record: AlignRecord) -> str:
    unsafe, safe = (record.sides.get(label, 0) for label in (UNSAFE, SAFE))
    return (
        "as many safe as unsafe ones"
        if unsafe == safe
        else f"{count(unsafe)} unsafe and {count(safe)} safe ones"
    )


def refresh(folder: Path, record: AlignRecord, outcome: Outcome) -> None:
    """Write the card of a folder anew with the test scores of an alignment report."""
    write_text(folder / "README.md", render(record, outcome))


def _head(record: AlignRecord, outcome: Outcome | None, place: Place | None) -> dict[str, Any]:
    merged = place is not None and place.merged
    known = is_hub_id(record.base.model)
    head: dict[str, Any] = {
        "base_model": record.base.model if known or place is None else None,
        "base_model_relation": ("finetune" if merged else "adapter") if known else None,
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "image-text-to-text",
        "tags": ["ucbench", "safety", record.method, "merged" if merged else "lora"],
    }
    if place is None:
        return head
    from huggingface_hub import ModelCardData

    told = evaluated(record, outcome) if outcome else []
    data = ModelCardData(
        license=place.licence.id,
        license_name=place.licence.name,
        license_link=place.licence.link,
        model_name=place.repo.partition("/")[2],
        eval_results=told or None,
        **head,
    )
    told_head: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]
    return {key: value for key, value in told_head.items() if key != "model_name"}


def is_hub_id(name: str) -> bool:
    """Whether a model's name is one that others find on the Hub."""
    return _HUB_ID.fullmatch(name) is not None


def evaluated(record: AlignRecord, outcome: Outcome) -> list[EvalResult]:
    """The scores after alignment, for the card's head."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-text-to-text",
            task_name="Recognising unsafe content",
            dataset_type=record.track,
            dataset_name=f"ucbench {record.track}",
            dataset_split="test",
            dataset_args={"version": record.track_version},
            metric_type=key,
            metric_name=_name(key),
            metric_value=round(score.value, 4),
            metric_args={"low": _short(score.low), "high": _short(score.high), "n": score.n_items},
        )
        for key, score in outcome.after.items()
        if score.value is not None
    ]


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _name(key: str) -> str:
    return KEYS[key].title if key in KEYS else _EXPERIMENT.get(key, key.replace("_", " "))


def _probe(record: AlignRecord) -> str:
    probe = record.probe
    if probe is None:
        return "Nothing was measured on held-back pictures."
    rows = [
        [title, fraction(probe.before.get(key)), fraction(probe.after.get(key)), count(probe.n[key])]
        for key, title in _PROBE.items()
        if key in probe.n
    ]
    return table(["share of answers", "before", "after", "n"], rows)


def _measured(record: AlignRecord, outcome: Outcome) -> str:
    rows = [
        [
            code(key),
            escaped(_name(key)),
            _written(outcome.before[key]),
            _written(after),
            count(after.n_items),
        ]
        for key, after in outcome.after.items()
        if key in outcome.before
    ]
    head = ["score", "meaning", "before", "after", "n"]
    told = f"On the test split of {code(record.track)}, with 95% intervals; n counts answers:"
    return f"\n{told}\n\n{table(head, rows)}\n"


def _written(score: Score) -> str:
    ends = interval(score.low, score.high)
    return f"{fraction(score.value)} [{ends}]" if ends else fraction(score.value)


def _use(record: AlignRecord, place: Place) -> str:
    base, more = record.base, ""
    if base.model.startswith(_EMBEDDED):
        more = "\nfrom ucbench.models.registry import EMBEDDED\n"
        named = f"EMBEDDED[{base.model!r}]"
    else:
        named = f"{base.model!r}, revision={base.revision!r}"
    load = _LOAD_MERGED if place.merged else _LOAD_ADAPTER
    loading = load.format(base=named, repo=place.repo, more=more)
    evaluate = block(f"ucbench evaluate {place.repo}", "sh")
    return f"{block(loading + _ASK, 'python')}\n\nor measure it:\n\n{evaluate}"


def _licence(record: AlignRecord, licence: Licence) -> str:
    base = code(record.base.model)
    if licence == UNKNOWN:
        told = f"The licence of {base} is unknown to its publisher. Find it out before you use this."
    else:
        name = escaped(licence.name or licence.id)
        where = f" ({escaped(licence.link, 300)})" if licence.link else ""
        told = f"That of its base {base}: {name}{where}."
    return f"\n## Licence\n\n{told}\n"
