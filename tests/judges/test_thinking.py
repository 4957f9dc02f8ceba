from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.judges.thinking import strip_thinking


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("No, it is unsafe.", "No, it is unsafe.", ""),
        ("<think>Let me see.</think>No.", "No.", "Let me see."),
        ("<think>\n\n</think>\n\nYes", "Yes", ""),
        ("<THINK>x</Think> B", "B", "x"),
        ("<thinking>a</thinking> <answer>C</answer>", "C", "a"),
        ("<reasoning>a</reasoning>D", "D", "a"),
        ("[THINK]a[/THINK]b", "b", "a"),
        ("◁think▷a◁/think▷b", "b", "a"),
        ("Opened by the template</think>Yes", "Yes", "Opened by the template"),
        ("<think>cut at the limit", "", "cut at the limit"),
        ("<think>a<think>b</think>c</think>d", "d", "abc"),
        ("<think>a</think>b<think>c</think>d", "bd", "ac"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "b", "a"),
        ("<|channel>thought\na<channel|>b", "b", "a"),
        ("", "", ""),
    ],
)
def test_strip(text: str, answer: str, thinking: str) -> None:
    assert strip_thinking(text) == (answer, thinking)


@given(st.text(st.characters(exclude_characters="<>[]◁▷|"), max_size=60), st.text("abc \n", max_size=60))
def test_a_part_put_before_comes_off_again(answer: str, thought: str) -> None:
    assert strip_thinking(f"<think>{thought}</think>{answer}") == (answer.strip(), thought.strip())


@given(st.text(st.characters(exclude_characters="<>[]◁▷"), max_size=80))
def test_text_without_markers_is_left_as_it_is(text: str) -> None:
    assert strip_thinking(text) == (text, "")


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "[THINK]", "</answer>"]), max_size=20).map(
        "".join
    )
)
def test_a_second_pass_changes_nothing(text: str) -> None:
    answer, _ = strip_thinking(text)
    assert strip_thinking(answer) == (answer, "")
