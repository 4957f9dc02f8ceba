"""What changed with alignment: an aligned model beside the one that it was made from."""

from __future__ import annotations

from ucbench import taxonomy
from ucbench.comparison import ahead, furthest
from ucbench.format import concept_title
from ucbench.metrics.keys import KEYS
from ucbench.site.columns import Row
from ucbench.site.compare import pairs, view
from ucbench.site.figures import charts, score_table, tables
from ucbench.site.figures.charts import Reading
from ucbench.site.figures.score_table import Pair
from ucbench.site.links import link

#: So many concepts tell what changed.
MOST_CHANGED = 8


def changed(base: Row, row: Row) -> str:
    """An aligned model beside the one it was made from: every score, and the concepts that changed most."""
    table = view.table_of([base, row])
    other = table.others[0]
    where = link(tables.name(base), "model", run=str(base["run_id"]))
    if other.told.found is None:
        beside = score_table.side_by_side(
            [(key, [view.own(base, key), view.own(row, key)]) for key in table.keys],
            heads=("Before", "After"),
            caption="Scores before and after alignment",
        )
        return f'<p class="quiet">Before is {where}.</p>{beside}{charts.note(other.told.problem)}'
    lines = []
    for key in table.keys:
        contrast = other.scores.get(key)
        first, second = view.readings(base, row, key, contrast)
        apart = table.apart.get((other.letter, key))
        who = "" if contrast is None else ahead(key, contrast)
        better = {"first": "worse", "second": "better"}.get(who, "")
        aside = "" if contrast or not (first.exists and second.exists) else "not compared"
        lines.append(Pair(KEYS[key].title, first, second, contrast, apart, key, aside=aside, better=better))
    html = [
        f'<p class="quiet">Before is {where}, asked the same questions.</p>',
        score_table.differences(
            lines,
            heads=("Score", "Before", "After"),
            caption="Scores before and after alignment",
            end=score_table.widest(lines),
        ),
    ]
    html.append(
        charts.note(" ".join(view.what_was_compared(table, "The base", "Differences are after minus before")))
    )
    most = _changed_most(other)
    if most:
        html += [tables.heading("Concepts whose images are judged most differently"), most]
    return "".join(html)


def _changed_most(other: view.Against) -> str:
    assert other.told.found is not None
    key = "image_alignment"
    contrasts = other.told.found.by_concept.get(key, {})
    names = {concept.id: concept_title(concept.name) for concept in taxonomy.concepts()}
    lines = []
    for concept_id, contrast in furthest(contrasts)[:MOST_CHANGED]:
        title = names.get(concept_id, concept_id)
        where = link(title, "concepts", concept=concept_id, track=pairs.track_query(other.row))
        lines.append(
            Pair(title, Reading(contrast.first), Reading(contrast.second), contrast, link=where)
        )  # fmt: skip
    if not lines:
        return ""
    return score_table.differences(
        lines,
        heads=("Concept", "Before", "After"),
        caption="Concepts by their change in image alignment",
        end=score_table.widest(lines),
        last="",
    )
