"""The engine's answers against plain, one-at-a-time `generate` on the whole prompt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from naive import OneAtATime
from PIL import Image

from ucbench.errors import BadImageError, ModelError
from ucbench.models import registry
from ucbench.models.base import Batch, OutOfMemoryError
from ucbench.models.local import LocalVLM
from ucbench.record import Decoding
from ucbench.types import Answer, Question, Sample

NEW_TOKENS = 20
GREEDY = Decoding(max_new_tokens=NEW_TOKENS)
SAMPLED = Decoding(temperature=0.9, top_p=0.95, max_new_tokens=NEW_TOKENS, seed=5)

Answers = dict[tuple[str, str], Answer]


@pytest.fixture(scope="module")
def load() -> Callable[..., LocalVLM]:
    kept: dict[Any, LocalVLM] = {}

    def loader(folder: Path, decoding: Decoding = GREEDY, **options: Any) -> LocalVLM:
        key = (folder, decoding, *options.items())
        if key not in kept:
            vlm = registry.load(str(folder), decoding=decoding, device="cpu", **options)
            assert isinstance(vlm, LocalVLM)
            kept[key] = vlm
        return kept[key]

    return loader


def ask(vlm: LocalVLM, samples: list[Sample], batch_size: int) -> Answers:
    answers: Answers = {}
    for batch in vlm.plan(samples, batch_size):
        replies = vlm.answer(batch)
        assert [(a.sample_id, a.question_id) for a in replies] == [(s.id, q.id) for s, q in batch.items]
        answers |= {(a.sample_id, a.question_id): a for a in replies}
    return answers


def plain_generate(folder: Path, samples: list[Sample]) -> dict[tuple[str, str], tuple[str, int, bool]]:
    """(text, tokens, truncated) by transformers alone: whole prompt, one question at a time."""
    replies = OneAtATime(folder, max_new_tokens=NEW_TOKENS)(samples)
    return {key: (reply.text, reply.tokens, reply.truncated) for key, reply in replies.items()}


@pytest.mark.parametrize("checkpoint", ["llava", "llava15"])
def test_answers_equal_plain_generate(
    checkpoint: str,
    load: Callable[..., LocalVLM],
    samples: list[Sample],
    request: pytest.FixtureRequest,
) -> None:
    folder = request.getfixturevalue(checkpoint)
    expected = plain_generate(folder, samples)
    assert len({text for text, _, _ in expected.values()}) > 10, (
        "answers must differ for this to prove anything"
    )
    assert {truncated for _, _, truncated in expected.values()} == {True, False}
    vlm = load(folder)
    assert vlm.engine_path == "shared_prefix"
    for batch_size in (1, 4, 6, 64):
        answers = ask(vlm, samples, batch_size)
        assert {key: (a.text, a.tokens, a.truncated) for key, a in answers.items()} == expected


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_answers_do_not_depend_on_the_batch(
    decoding: Decoding, llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava, decoding)
    alone = ask(vlm, samples, 1)
    for batch_size in (3, 7, 64):
        assert ask(vlm, samples, batch_size) == alone
    assert ask(vlm, samples[::-1], 5) == alone


def test_sampled_answers_follow_the_seed(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    first = ask(load(llava, SAMPLED), samples, 64)
    other = ask(load(llava, SAMPLED.model_copy(update={"seed": 6})), samples, 64)
    greedy = ask(load(llava), samples, 64)
    same_seed = sum(first[key].text == other[key].text for key in first)
    same_greedy = sum(first[key].text == greedy[key].text for key in first)
    assert same_seed < len(first) / 2
    assert same_greedy < len(first) / 2


def test_the_path_for_unknown_architectures_gives_the_same(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {decoding: ask(load(llava, decoding), samples, 64) for decoding in (GREEDY, SAMPLED)}
    monkeypatch.setattr("ucbench.models.loading.FAMILIES", {})
    for decoding, expected in shared.items():
        vlm = registry.load(str(llava), decoding=decoding, device="cpu")
        assert vlm.engine_path == "one_at_a_time"
        assert ask(vlm, samples, 4) == expected  # type: ignore[arg-type]


def test_an_image_behind_its_question_shares_nothing(
    build: Any, tmp_path: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    template = "{% for m in messages %}{{ m['content'][1]['text'] }} <image>{% endfor %} ASSISTANT:"
    vlm = load(build(tmp_path / "late", template=template))
    assert vlm.ways == ("batched", "one_at_a_time")
    answers = ask(vlm, samples, 8)
    assert answers == ask(vlm, samples, 1)
    vlm.use("one_at_a_time")
    assert answers == ask(vlm, samples, 8)


def test_sliding_windows_share_the_vision_only(
    build: Any, tmp_path: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    """Their caches forget the beginning of a prefix, which could then not be shared."""
    folder = build(tmp_path / "window", window=8)
    vlm = load(folder)
    assert vlm.engine_path == "shared_vision"
    expected = plain_generate(folder, samples[:3])
    answers = ask(vlm, samples[:3], 4)
    assert {key: (a.text, a.tokens, a.truncated) for key, a in answers.items()} == expected


def test_a_way_that_a_model_does_not_allow(build: Any, tmp_path: Path, load: Callable[..., LocalVLM]) -> None:
    vlm = load(build(tmp_path / "window", window=8))
    with pytest.raises(ModelError, match="cannot be asked by shared_prefix"):
        vlm.use("shared_prefix")


def test_tied_embeddings(
    build: Any, tmp_path: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    """The output weights are not in the file and yet not missing."""
    folder = build(tmp_path / "tied", tied=True)
    expected = plain_generate(folder, samples[:3])
    answers = ask(load(folder), samples[:3], 4)
    assert {key: (a.text, a.tokens, a.truncated) for key, a in answers.items()} == expected


def test_every_picture_is_encoded_once(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava)
    seen: list[int] = []
    hook = vlm._model.model.vision_tower.register_forward_hook(lambda _m, _i, out: seen.append(len(out[0])))
    try:
        ask(vlm, samples, 5)
    finally:
        hook.remove()
    assert sum(seen) == len(samples)


def test_a_resumed_run_recomputes_what_it_skipped(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava)
    whole = ask(vlm, samples, 4)
    for batch in reversed(vlm.plan(samples, 4)):
        for answer in vlm.answer(batch):
            assert answer == whole[answer.sample_id, answer.question_id]


def test_same_ids_with_other_pictures_are_not_confused(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava)
    swapped = [replace(s, image=t.image) for s, t in zip(samples, samples[::-1], strict=True)]
    first, second = ask(vlm, samples, 64), ask(vlm, swapped, 64)
    assert second == ask(vlm, swapped, 1)
    assert first != second


@dataclass(frozen=True)
class Broken:
    def load(self) -> Image.Image:
        raise BadImageError("broken.png is not a picture")


@pytest.mark.parametrize("shared", [True, False])
def test_a_bad_image_fails_alone(
    shared: bool, llava: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared:
        monkeypatch.setattr("ucbench.models.loading.FAMILIES", {})
    vlm = registry.load(str(llava), decoding=GREEDY, device="cpu")
    assert isinstance(vlm, LocalVLM)
    expected = ask(vlm, samples, 64)
    broken = {index: replace(samples[index], image=Broken()) for index in (0, 3)}
    mixed = [broken.get(index, sample) for index, sample in enumerate(samples)]
    answers = ask(vlm, mixed, 64)
    for key, answer in answers.items():
        if key[0] in ("s0", "s3"):
            assert answer == Answer(*key, "", 0, "bad_image")
        else:
            assert answer == expected[key]


def test_a_batch_of_bad_images_only(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    broken = replace(samples[2], image=Broken())
    assert {a.error for a in ask(load(llava), [broken], 8).values()} == {"bad_image"}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_out_of_memory_is_reported_and_survived(
    error: Exception, llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava)
    expected = ask(vlm, samples, 64)
    layer = vlm._model.model.language_model.layers[1]

    def burst(_module: Any, args: tuple[torch.Tensor, ...]) -> None:
        if len(args[0]) > 8:  # rows
            raise error

    (batch,) = vlm.plan(samples, 64)
    hook = layer.register_forward_pre_hook(burst)
    try:
        with pytest.raises(OutOfMemoryError):
            vlm.answer(batch)
        assert not vlm._path.kept
        halves = [Batch(0, 0, batch.items[:8]), Batch(0, 0, batch.items[8:])]
        answers = [answer for half in halves for answer in vlm.answer(half)]
    finally:
        hook.remove()
    assert {(a.sample_id, a.question_id): a for a in answers} == expected


def test_other_faults_are_not_taken_for_memory(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava)

    def fail(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    hook = vlm._model.lm_head.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="shapes"):
            ask(vlm, samples[:1], 1)
    finally:
        hook.remove()


def test_generation_settings_of_the_checkpoint_do_not_leak(
    build: Any, tmp_path: Path, load: Callable[..., LocalVLM], llava: Path, samples: list[Sample]
) -> None:
    from transformers import GenerationConfig

    folder = build(tmp_path / "settings")
    GenerationConfig(
        do_sample=True, temperature=0.1, top_k=1, repetition_penalty=3.0, max_length=3, eos_token_id=2
    ).save_pretrained(folder)
    assert ask(load(folder), samples, 64) == ask(load(llava), samples, 64)


def test_every_stop_token_ends_an_answer(
    build: Any, tmp_path: Path, load: Callable[..., LocalVLM], llava: Path, samples: list[Sample]
) -> None:
    from transformers import GenerationConfig

    vlm = load(llava)
    sample = samples[0]
    inputs = vlm.whole_inputs([(sample, sample.questions[0])])
    tokens = vlm._decoder(vlm.model, [("", "")], **inputs)[0]
    assert len(tokens) == NEW_TOKENS
    folder = build(tmp_path / "stops")
    GenerationConfig(eos_token_id=[2, tokens[3]]).save_pretrained(folder)
    (answer,) = ask(load(folder), [sample], 64).values()
    assert answer.tokens == tokens.index(tokens[3])
    assert not answer.truncated


@pytest.mark.parametrize("special", [False, True])
def test_thinking_is_cut_and_counted(special: bool, llava: Path, samples: list[Sample]) -> None:
    vlm = registry.load(str(llava), decoding=GREEDY, device="cpu")
    assert isinstance(vlm, LocalVLM)
    if special:  # as some tokenizers have their marks
        vlm._tokenizer.add_special_tokens({"extra_special_tokens": ["<think>", "</think>"]})
    tokens = vlm._tokenizer("<think>It is safe.</think> Yes", add_special_tokens=False)["input_ids"]
    answer = vlm.read(samples[0], samples[0].questions[0], [*tokens, 2])
    assert answer.text == "Yes"
    assert answer.tokens == len(tokens)
    assert not answer.truncated
    assert 0 < answer.thinking_tokens < answer.tokens


def test_the_system_prompt_reaches_the_model(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava, system_prompt="Answer as a careful moderator.")
    assert vlm.entry.system_prompt == "Answer as a careful moderator."
    assert ask(vlm, samples, 64) != ask(load(llava), samples, 64)
    assert ask(vlm, samples, 64) == ask(vlm, samples, 1)


def test_a_question_with_the_image_placeholder_is_refused(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    sly = Question("q", "general", "t", "Is <image> safe?", "c", "yes")
    with pytest.raises(ModelError, match="does not contain <image>"):
        load(llava).plan([replace(samples[0], questions=(sly,))], 4)
    with pytest.raises(ModelError, match="does not contain <image>"):
        list(load(llava).stream(samples[0].image.load(), sly.text))


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_stream_gives_the_answer_in_pieces(
    decoding: Decoding, llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava, decoding)
    text = "If an image shows graffiti, is it safe?"
    pieces = list(vlm.stream(samples[1].image.load(), text))
    assert len(pieces) > 1
    lone = Sample("", samples[1].image, "test", (Question(text, "general", "t", text, "c", "yes"),))
    assert "".join(pieces).strip() == ask(vlm, [lone], 1)["", text].text


def test_a_stream_that_nobody_reads_on_frees_the_model(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava, Decoding(max_new_tokens=2000, temperature=5.0))
    stream = vlm.stream(samples[0].image.load(), "Is it safe?")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not vlm._lock.locked()


def test_threads_get_the_answers_of_one(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava)
    image = samples[2].image.load()
    alone = "".join(vlm.stream(image, "Is it safe?"))
    expected = ask(vlm, samples, 5)
    texts: list[str] = []
    readers = [
        threading.Thread(target=lambda: texts.append("".join(vlm.stream(image, "Is it safe?"))))
        for _ in range(3)
    ]
    for reader in readers:
        reader.start()
    assert ask(vlm, samples, 5) == expected
    for reader in readers:
        reader.join()
    assert texts == [alone] * 3


def test_a_failing_stream_raises_where_it_is_read(
    llava: Path, load: Callable[..., LocalVLM], samples: list[Sample]
) -> None:
    vlm = load(llava)

    def fail(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    hook = vlm._model.lm_head.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="shapes"):
            list(vlm.stream(samples[0].image.load(), "Is it safe?"))
    finally:
        hook.remove()
