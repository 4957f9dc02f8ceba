"""Options that change answers stand on the entry; those that cannot be had are refused in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from ucbench.errors import ModelError, UcbenchError, UnknownNameError
from ucbench.models import registry
from ucbench.models.local import LocalVLM
from ucbench.record import Decoding, Entry, TrackRef, run_id
from ucbench.types import Sample

LLAVA_V1 = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the human's questions. USER: <image>\nIs it safe? ASSISTANT:"
)
Checkpoint = Callable[[str], Path]


def load(folder: Path, **options: Any) -> LocalVLM:
    vlm = registry.load(str(folder), decoding=Decoding(max_new_tokens=6), **{"device": "cpu", **options})
    assert isinstance(vlm, LocalVLM)
    return vlm


def texts(vlm: LocalVLM, samples: list[Sample]) -> list[str]:
    return [answer.text for batch in vlm.plan(samples, 8) for answer in vlm.answer(batch)]


def test_the_template_of_llava_v1(checkpoint: Checkpoint, pictures: list[Sample]) -> None:
    """Word for word the conversation that LLaVA-1.5 was trained with."""
    own, chosen = load(checkpoint("llava")), load(checkpoint("llava"), template="llava_v1")
    assert chosen.prompts.render("Is it safe?") == LLAVA_V1
    assert (own.entry.template, chosen.entry.template) == (None, "llava_v1")
    assert texts(own, pictures) != texts(chosen, pictures)
    assert load(checkpoint("llava"), template="own").entry == own.entry
    answered = chosen.processor.apply_chat_template(
        [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it safe?"}]},
            {"role": "assistant", "content": "Yes."},
        ]
    )
    assert answered == "Be brief. USER: <image>\nIs it safe? ASSISTANT: Yes.</s>"


def test_a_system_prompt_takes_the_place_of_the_usual_one(checkpoint: Checkpoint) -> None:
    vlm = load(checkpoint("llava"), template="llava_v1", system_prompt="Be careful.")
    assert vlm.prompts.render("Is it safe?") == "Be careful. USER: <image>\nIs it safe? ASSISTANT:"
    with pytest.raises(ModelError, match="no system prompt"):
        load(checkpoint("instructblip"), system_prompt="Be careful.")


def test_a_known_model_is_asked_with_its_template(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr("ucbench.models.download.fetch", lambda *_, **__: (checkpoint("llava"), commit))
    name = "llava-hf/llava-1.5-7b-hf"
    known = registry.load(name, decoding=Decoding(), device="cpu").entry
    assert (known.model, known.revision, known.template) == (name, commit, "llava_v1")
    assert registry.load(name, decoding=Decoding(), device="cpu", template="own").entry.template is None
    assert registry.load_base(name, device="cpu").loaded.template == "llava_v1"
    assert registry.load("some/other", decoding=Decoding(), device="cpu").entry.template is None


def test_every_option_has_its_own_run() -> None:
    track = TrackRef(id="t", version="1")
    entries = [
        Entry(model="m"), Entry(model="m", template="llava_v1"), Entry(model="m", attention="eager"),
        Entry(model="m", max_pixels=100), Entry(model="m", max_pixels=200),
    ]  # fmt: skip
    assert len({run_id(entry, track, "1") for entry in entries}) == len(entries)


def test_runs_from_before_the_options_keep_their_ids() -> None:
    entry = Entry(model="embedded:tiny-vlm", revision="sha256:0", dtype="float32")
    assert run_id(entry, TrackRef(id="pictograms", version="1"), "1") == "651b23b6be1f3470"


def test_attention_is_chosen_and_told(checkpoint: Checkpoint, pictures: list[Sample]) -> None:
    eager = load(checkpoint("llava"), attention="eager")
    assert eager.entry.attention == "eager"
    assert eager.model.config._attn_implementation == "eager"
    assert texts(eager, pictures) == texts(load(checkpoint("llava")), pictures)
    with pytest.raises(UnknownNameError, match="no attention"):
        load(checkpoint("llava"), attention="guess")


def test_attention_that_is_not_known_to_take_holes_shares_no_prefix(checkpoint: Checkpoint) -> None:
    loaded = registry.load_base(str(checkpoint("llava")), device="cpu").loaded
    loaded.model.config.get_text_config()._attn_implementation = "flex_attention"
    assert LocalVLM(loaded, Entry(model="m")).ways == ("shared_vision", "batched", "one_at_a_time")


def test_auto_spreads_the_model(checkpoint: Checkpoint, pictures: list[Sample]) -> None:
    vlm = load(checkpoint("llava"), device="auto")
    assert vlm.entry == load(checkpoint("llava")).entry
    assert texts(vlm, pictures) == texts(load(checkpoint("llava")), pictures)


@dataclass(frozen=True)
class Wide:
    def load(self) -> Image.Image:
        return Image.effect_noise((160, 40), 80).convert("RGB")


@pytest.mark.parametrize("family", ["qwen2_vl", "idefics3", "smolvlm", "internvl", "pixtral", "mistral3"])
def test_max_pixels_shrinks_pictures_and_stands_on_the_entry(family: str, checkpoint: Checkpoint) -> None:
    """The processor is asked, as its rounding to patches and tiles is its own."""
    limit = 16 * 16
    whole, small = load(checkpoint(family)), load(checkpoint(family), max_pixels=limit)
    assert small.entry.max_pixels == limit
    lengths = [
        len(vlm._inputs.picture(Wide().load(), ["Is it safe?"]).prompts["Is it safe?"])
        for vlm in (whole, small)
    ]
    assert lengths[1] < lengths[0]
    # A larger bound than the checkpoint's own changes nothing.
    large = load(checkpoint(family), max_pixels=10**9)
    assert len(large._inputs.picture(Wide().load(), ["Is it safe?"]).prompts["Is it safe?"]) == lengths[0]


@pytest.mark.parametrize("family", ["llava", "instructblip", "gemma3", "llava_next"])
def test_max_pixels_is_refused_where_pictures_have_one_size(family: str, checkpoint: Checkpoint) -> None:
    with pytest.raises(UcbenchError, match="max-pixels"):
        load(checkpoint(family), max_pixels=100)


@pytest.mark.parametrize(
    ("family", "template"), [("qwen2_vl", "llava_v1"), ("llava", "vicuna"), ("instructblip", "llava_v1")]
)
def test_templates_are_for_their_models(family: str, template: str, checkpoint: Checkpoint) -> None:
    with pytest.raises(UnknownNameError, match="template"):
        load(checkpoint(family), template=template)


@pytest.mark.parametrize("family", ["instructblip", "qwen2_vl"])
def test_half_precision_answers(family: str, checkpoint: Checkpoint, pictures: list[Sample]) -> None:
    vlm = load(checkpoint(family), dtype="bfloat16")
    assert vlm.entry.dtype == "bfloat16"
    assert len(texts(vlm, pictures)) == 7


def test_a_question_with_the_image_token_is_refused(checkpoint: Checkpoint) -> None:
    vlm = load(checkpoint("instructblip"))
    with pytest.raises(ModelError, match="does not contain <image>"):
        vlm.prompts.tokens("Is <image> safe?")


@pytest.fixture
def originals() -> Iterator[dict[str, type]]:
    """The classes of transformers that ours stand in for, made importable without what they ask for."""
    from transformers.models.pixtral import image_processing_pil_pixtral
    from transformers.models.smolvlm import processing_smolvlm

    missing = "transformers.models.pixtral.image_processing_pixtral"
    stand_in = ModuleType(missing)
    stand_in.get_resize_output_image_size = image_processing_pil_pixtral.get_resize_output_image_size  # type: ignore[attr-defined]
    before = sys.modules.get(missing), processing_smolvlm.num2words
    sys.modules[missing] = stand_in
    processing_smolvlm.num2words = str
    try:
        pixtral = import_module("transformers.models.pixtral.processing_pixtral").PixtralProcessor
        yield {"pixtral": pixtral, "smolvlm": processing_smolvlm.SmolVLMProcessor}
    finally:
        processing_smolvlm.num2words = before[1]
        if before[0] is None:
            del sys.modules[missing]


@pytest.mark.parametrize("family", ["pixtral", "mistral3", "smolvlm"])
def test_our_processors_do_what_the_originals_do(
    family: str, checkpoint: Checkpoint, pictures: list[Sample], originals: dict[str, type]
) -> None:
    import torch

    vlm = load(checkpoint(family))
    ours = vlm.processor
    if family == "smolvlm":
        original = originals["smolvlm"].__new__(originals["smolvlm"])
        original.check_argument_for_proper_class = lambda *_: None
        original.__init__(ours.image_processor, ours.tokenizer, None, image_seq_len=ours.image_seq_len)
    else:
        original = originals["pixtral"](
            ours.image_processor, ours.tokenizer, ours.patch_size, ours.spatial_merge_size
        )
    images = [[sample.image.load()] for sample in pictures]
    text = [vlm.prompts.render("Is it safe?")] * len(images)
    one, other = (
        processor(images=images, text=text, padding=True, padding_side="left", return_tensors="pt")
        for processor in (ours, original)
    )
    assert set(one) == set(other)
    for key, value in one.items():
        assert torch.equal(value, other[key]), key
