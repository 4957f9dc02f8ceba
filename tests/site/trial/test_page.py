"""The page Try a model under AppTest: choices in the address, pictures, consent, who is asked for."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ucbench.site.data import loading
from ucbench.site.trial import here, providers
from ucbench.site.trial.jobs import Desk
from ucbench.site.trial.models import DEFAULT, Choice

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
PAGE = "app_pages/try_a_model.py"

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _stores(reported_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board that is quickly made, and no models but the embedded one."""
    monkeypatch.setenv("UCBENCH_RESULTS", str(reported_store))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("UCBENCH_TRY", raising=False)


def png(size: tuple[int, int] = (40, 30)) -> tuple[str, bytes, str]:
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, "PNG")
    return "red.png", stream.getvalue(), "image/png"


def answered(app: Any) -> Any:
    """Ask, and look again when everything came."""
    app.button(key="ask").click().run()
    until = time.monotonic() + 90
    while not app.session_state["job"].over:
        assert time.monotonic() < until
        time.sleep(0.05)
    return app.run()


@pytest.fixture
def shared(new_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """What visitors share, with a model of a few lines in place of the embedded one."""
    desk = new_desk()
    monkeypatch.setattr(here, "shared", lambda: desk)
    return desk


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A site that listens on this machine alone, with a key of its own."""
    from streamlit import config

    monkeypatch.setenv("HF_TOKEN", "hf_home")
    for name in ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "SPACE_ID", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)
    before = config.get_option("server.address")
    config.set_option("server.address", "localhost")
    yield
    config.set_option("server.address", before)


@pytest.fixture
def provider(chat_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A provider of this test's own that serves acme/seeing."""
    server = chat_server(model="acme/seeing", key="hf_home")
    monkeypatch.setenv(providers.PLACE, server.url)
    return server


def words(app: Any) -> str:
    found = [*app.caption, *app.warning, *app.error, *app.markdown, *app.info]
    return "\n".join(str(element.value) for element in found).replace("\\", "")


@pytest.mark.usefixtures("shared")
def test_answers_stay_with_the_picture_they_are_about(open_app: App, read_figures: Figures) -> None:
    app = open_app(PAGE, about="arson", questions="shows")
    answered(app)
    assert "By rule" in read_figures(app)["trial_answers"]
    app.selectbox(key="about").set_value("gun-violence").run()
    assert "trial_answers" not in read_figures(app)
    assert "Nothing asked yet." in words(app)
    app.selectbox(key="about").set_value("arson").run()
    assert "trial_answers" in read_figures(app)
    app.get_by_key("source").set_value("upload").run()
    assert "trial_answers" not in read_figures(app)
    assert "upload" in app.query_params["source"]


@pytest.mark.usefixtures("shared")
def test_the_same_concept_as_image_and_in_words_comes_to_a_sentence(
    open_app: App, read_figures: Figures
) -> None:
    app = answered(open_app(PAGE, about="arson"))
    shown = read_figures(app)["trial_answers"]
    assert "Unsafe as an image (5 of 5) and in words (5 of 5): no gap in this example." in shown
    assert shown.count("judged unsafe") == 10
    assert "If an image shows Arson" in shown


def test_every_choice_lives_in_the_address(open_app: App) -> None:
    app = open_app(PAGE, about="arson", drawing="3", questions="own", judge="classifier", category="hate")
    assert app.selectbox(key="about").value == "arson"
    assert app.session_state["questions"] == ["own"]
    assert app.session_state["judge"] == "classifier"
    assert "Write your question" in words(app)
    app = open_app(PAGE, about="zzz", source="zzz", drawing="zzz", questions="zzz", via="zzz")
    for name in ("about", "source", "drawing"):
        assert name not in app.query_params
    assert app.session_state["source"] == "emblem"


def test_a_model_of_another_place_is_told_and_left(open_app: App) -> None:
    app = open_app(PAGE, about="arson", model="endpoint:gpt-9 **bold**")
    assert "No model on this machine is called “endpoint:gpt-9 **bold**”" in words(app)
    assert "model" not in app.query_params
    assert app.selectbox(key="model").value == "embedded:tiny-vlm"
    assert app.selectbox(key="about").value == "arson"


@pytest.mark.usefixtures("at_home")
def test_a_model_that_others_serve_is_opened_by_its_name(open_app: App) -> None:
    app = open_app(PAGE, about="arson", model="provider:novita:acme/seeing")
    assert app.selectbox(key="model").value == "provider"
    assert app.text_input(key="text:id").value == "acme/seeing"
    assert app.selectbox(key="via").value == "novita"
    assert "The emblem and the questions are sent to Hugging Face and novita." in words(app)
    assert "with the HF_TOKEN of its environment" in words(app)
    assert not app.button(key="ask").disabled


def test_an_aligned_model_stands_beside_its_base(
    open_app: App, read_figures: Figures, shared: Desk, tmp_path: Path
) -> None:
    folder = tmp_path / "aligned" / "tiny-vlm-ppo-seed0"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    record = {"base": {"model": "embedded:tiny-vlm"}, "method": "ppo"}
    (folder / "align.json").write_text(json.dumps(record))
    app = open_app(PAGE, about="arson", against="local:tiny-vlm-ppo-seed0", questions="image")
    answered(app)
    shown = read_figures(app)["trial_answers"]
    assert "Both judge the picture unsafe in 5 of 5 answers." in shown
    assert "tiny-vlm-ppo-seed0" in shown
    assert str(tmp_path) not in shown
    assert len(shared.line) == 0


@pytest.mark.usefixtures("at_home", "shared")
def test_a_picture_is_sent_only_after_the_box_and_by_provider(open_app: App, provider: Any) -> None:
    app = open_app(PAGE, source="upload", model="acme/seeing", questions="image")
    app.file_uploader(key="upload").set_value(png()).run()
    assert app.button(key="ask").disabled
    assert "Agree to send your picture first" in words(app)
    box = app.checkbox[0]
    assert "Hugging Face and the provider that it picks" in box.label
    box.check().run()
    assert not app.button(key="ask").disabled
    app.selectbox(key="via").set_value("novita").run()  # another provider: another box
    assert app.button(key="ask").disabled
    assert not app.checkbox[0].value
    app.selectbox(key="via").set_value("auto").run()
    app.file_uploader(key="upload").set_value(png((50, 30))).run()  # another picture: another box
    assert not app.checkbox[0].value
    assert provider.requests == 0
    app.checkbox[0].check().run()
    answered(app)
    assert provider.requests == 5


@pytest.mark.usefixtures("shared")
def test_no_key_of_this_machine_is_used_for_strangers(
    open_app: App, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_home")
    app = open_app(PAGE, about="arson", model="acme/seeing")
    assert app.button(key="ask").disabled
    assert "Sign-in is not set up on this site, so models that others serve cannot be asked." in words(app)
    monkeypatch.setenv("SPACE_ID", "acme/board")
    app = open_app(PAGE, about="arson", model="acme/seeing")
    assert "Sign-in is not set up on this Space" in words(app)
    assert app.button(key="ask").disabled
    assert provider.requests == 0


@pytest.mark.parametrize(
    ("headers", "home"),
    [
        ({"Host": "localhost:8501"}, True),
        ({"Host": "127.0.0.1:8501"}, True),
        ({"Host": "[::1]:8501"}, True),
        ({"Host": "board.example"}, False),
        ({"Host": "localhost:8501", "X-Forwarded-For": "10.0.0.1"}, False),
        ({"Host": "localhost:8501", "Forwarded": "for=10.0.0.1"}, False),
    ],
)
@pytest.mark.usefixtures("at_home")
def test_home_is_this_machine_asked_by_its_name(
    headers: dict[str, str], home: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlit.runtime.context import ContextProxy

    from ucbench.site.serving import signin

    monkeypatch.setattr(ContextProxy, "headers", property(lambda _: headers))
    assert signin.at_home() is home


def test_what_is_no_picture_is_refused_in_a_sentence(open_app: App) -> None:
    app = open_app(PAGE, source="upload")
    svg = ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png")
    for given, said in ((png((9000, 1)), "is a strip of"), (svg, "use one of PNG, JPEG, WEBP, GIF.")):
        app.file_uploader(key="upload").set_value(given).run()
        assert not app.exception
        assert said in words(app)
        assert app.error[0].value.startswith("The picture is ")
        assert ".." not in app.error[0].value
        assert app.button(key="ask").disabled
    app.file_uploader(key="upload").set_value(png((400, 8))).run()
    assert not app.error


def test_asking_needs_a_question_and_options(open_app: App) -> None:
    app = open_app(PAGE)
    app.get_by_key("questions").set_value([]).run()
    assert app.button(key="ask").disabled
    assert "none" in app.query_params["questions"]
    app.get_by_key("questions").set_value(["own"]).run()
    assert "Write your question" in words(app)
    app.text_input(key="own").set_value("How many dots are below the emblem?").run()
    assert not app.button(key="ask").disabled


def test_a_full_line_is_told(open_app: App, shared: Desk) -> None:
    for _ in range(shared.line.most + 1):
        shared.line.join()
    app = open_app(PAGE, about="arson")
    app.button(key="ask").click().run()
    assert "8 visitors wait for the model on this machine" in words(app)
    assert "job" not in app.session_state


def test_models_of_the_board_lead_to_their_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCBENCH_RESULTS", str(ROOT / "results"))
    rows = {row["run_id"]: row for row in loading.board().of_track("pictograms")}
    base, aligned = Choice(DEFAULT, DEFAULT), Choice("local:tiny-vlm-ppo-seed0", "")
    assert rows[here.run_of(base)]["model"] == DEFAULT
    assert not rows[here.run_of(base)].get("adapter")
    assert rows[here.run_of(aligned)]["adapter"].startswith("local:tiny-vlm-ppo-seed0@")
    assert here.run_of(Choice("local:nobody", "")) is None
