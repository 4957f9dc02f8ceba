"""A chart of dumbbells on a page, with the file of it beside."""

from __future__ import annotations

from collections.abc import Sequence

from ucbench.site import downloads
from ucbench.site.component import figure
from ucbench.site.figures import charts, svg
from ucbench.site.figures.charts import Dumbbell
from ucbench.site.track_views import Chart


def show(
    chart: Chart,
    lines: Sequence[Dumbbell],
    *,
    bars: str,
    label: str,
    title: str,
    foot: str,
    name: str,
    key: str,
    number: int,
) -> None:
    """Draw `lines`. `bars` says what the intervals are of, `label` is read out, `title` and `foot` stand in
    the file `name`; `number` counts the charts of a page, whose first has the bare `key`.
    """
    axis = f"{chart.axis}; {bars}"
    html = charts.dumbbells(lines, axis=axis, label=label, ends=chart.ends, between=chart.between)
    figure(html, key=f"{key}_{number}" if number else key)
    downloads.picture(
        lambda: svg.dumbbells(
            lines, title=title, axis=axis, ends=chart.ends, between=chart.between, foot=foot
        ),
        name,
        key=f"figure_{number}",
    )
