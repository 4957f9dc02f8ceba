"""Lists of concepts: the built-in one, files of others, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ucbench import taxonomy
from ucbench.compile import concepts as lists
from ucbench.errors import UcbenchError


def test_the_built_in_list_is_the_taxonomy_with_names_of_categories() -> None:
    found = lists.load("built-in")
    assert [c.id for c in found] == [c.id for c in taxonomy.concepts()]
    assert {c.category for c in found} == {c.name for c in taxonomy.categories()}
    assert all(c.prompt == c.name for c in found)


def test_yaml_and_csv_say_the_same(tmp_path: Path) -> None:
    yaml, csv = tmp_path / "list.yaml", tmp_path / "list.csv"
    yaml.write_text(
        "concepts:\n- {name: Red Circle, category: Round}\n"
        "- {id: sq, name: Blue square, category: Angular, prompt: a picture of a blue square}\n"
    )
    csv.write_text(
        "\ufeffid,name,category,prompt\n,Red Circle,Round,\n"
        "sq,Blue square,Angular,a picture of a blue square\n",
        encoding="utf-8",
    )
    expected = (
        lists.ListedConcept("red-circle", "Red Circle", "Round", "Red Circle"),
        lists.ListedConcept("sq", "Blue square", "Angular", "a picture of a blue square"),
    )
    assert lists.load(str(yaml)) == lists.load(str(csv)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {name: Red}", "concept 1 has no category"),
        ("- {category: Round}", "concept 1 has no name"),
        ("- {name: Red, category: Round, colour: red}", "a field 'colour'"),
        ("- {name: Red, category: Round}\n- {name: red, category: Round}", "the id 'red' more than once"),
        ("- {id: a, name: R, category: X}\n- {id: b, name: R, category: X}", "the name 'R' more than once"),
        ("- {id: ../x, name: Red, category: Round}", "no usable id ('../x')"),
        ("- {name: 赤, category: Round}", "no usable id ('')"),
        ("- {name: [1], category: Round}", "concept 1, name is no text"),
        ('- {name: "a\\nb", category: Round}', "cannot be printed"),
        ("- just words", "concept 1 is no row of fields"),
        ("words", "holds no list of concepts"),
        ("[]", "lists no concept"),
        ("{", "is no YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(text)
    with pytest.raises(UcbenchError) as error:
        lists.load(str(path))
    assert problem in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_none_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UcbenchError, match="there is no file"):
        lists.load(str(tmp_path / "none.yaml"))
    (tmp_path / "list.txt").write_text("a")
    with pytest.raises(UcbenchError, match="neither YAML nor CSV"):
        lists.load(str(tmp_path / "list.txt"))
