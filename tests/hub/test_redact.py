"""Logs for others to read hold no secrets, no terminal codes, and only their end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.hub.redact import MARK, readable, redact, tail, tail_of_file

SECRETS = {
    "HF_TOKEN": "hf_abcdefghij",
    "OPENAI_API_KEY": "sk-proj-12345678",
    "SHORT_KEY": "on",
    "PATH": "/usr/bin",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token hf_abcdefghij here", f"token {MARK} here"),
        ("an unknown hf_Zz9Zz9Zz9", f"an unknown {MARK}"),
        ("from huggingface_hub import hf_hub_download, hf_transfer", None),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MARK}"),
        ("https://ada:secret@hub.example/x", f"https://{MARK}@hub.example/x"),
        ("key=sk-proj-12345678&x", f"key={MARK}&x"),
        ("it is on /usr/bin", None),
    ],
)
def test_secrets_are_taken_out_and_nothing_else(text: str, shown: str | None) -> None:
    assert redact(text, environ=SECRETS) == (text if shown is None else shown)
    assert redact("in /home/ada/x", environ={}, also=["/home/ada"]) == f"in {MARK}/x"


@given(st.text(), st.text(), st.integers(0, 40))
def test_no_secret_survives_whatever_is_around_it(before: str, after: str, limit: int) -> None:
    text = f"{before}sk-proj-12345678{after}"
    assert "sk-proj-12345678" not in tail(text, 10 + limit, also=["sk-proj-12345678"])
    tail(text).encode()


def test_what_is_left_is_what_a_terminal_would_show() -> None:
    text = "\x1b[1mbold\x1b[0m \x1b]0;title\x07plain\r\n10%\r50%\r100%\nbell\x07 \u202eback\x00\tend  "
    assert readable(text) == "bold plain\n100%\nbell back\tend"
    assert readable("lone \ud800") == "lone ?"


def test_only_the_end_is_kept_from_the_beginning_of_a_line() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    cut = tail(text, 100)
    assert cut.startswith("line 9")
    assert cut.endswith("line 999")
    assert len(cut) <= 100
    assert tail("x" * 1000, 100) == "x" * 100


def test_of_a_huge_file_only_the_end_is_read_and_no_half_secret_shows(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with log.open("wb") as stream:
        stream.truncate(8 << 30)  # of zeros that take no room
        stream.seek(0, 2)
        stream.write(b"\n" + b"s" * 1597 + b"hf_abcdefghij the end\n")
    assert tail_of_file(log, 100) == f"{'s' * 85}{MARK} the end"[-100:]
    assert tail_of_file(tmp_path / "none") == ""
