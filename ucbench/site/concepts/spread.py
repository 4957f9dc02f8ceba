"""How the scores of many models spread: two small histograms over one axis, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ucbench.format import count, escape, fraction
from ucbench.site.figures.charts import End, percent, share_axis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 20
#: With fewer models the list says it all.
FEWEST = 4


def spread(values: Sequence[NDArray[np.float64]], ends: Sequence[End], *, title: str) -> str:
    """A histogram an end of the chart, of the models' shares in [0, 1]; NaN are left out.

    The first grows up from the axis, the second down; a mark stands at the median, and
    each has a scale of its own. Empty for too few models.
    """
    import numpy as np

    columns = [column[~np.isnan(column)] for column in values]
    if max((len(column) for column in columns), default=0) < FEWEST:
        return ""
    counts = [np.histogram(np.clip(column, 0, 1), BINS, (0, 1))[0] for column in columns]
    out = [f'<figure class="spread"><figcaption>{escape(title)}</figcaption>']
    for place, (column, found, end) in enumerate(zip(columns, counts, ends, strict=False)):
        if not len(column):
            continue
        low, median, high = (float(cut) for cut in np.quantile(column, (0.25, 0.5, 0.75)))
        said = (
            f"{end.words}: {count(len(column))} models, median {fraction(median)}, "
            f"middle half {fraction(low)} to {fraction(high)}"
        )
        most = int(found.max())
        bars = "".join(f'<i style="height:{percent(n / most)}"></i>' for n in found.tolist())
        out.append(
            f'<div class="who is-{end.about}">{escape(end.words)}<span class="quiet">median '
            f"{fraction(median)}, up to {count(most)} models a bar</span></div>"
            f'<div class="hist {end.about}{" down" if place else ""}" role="img" aria-label="{escape(said)}">'
            f'{bars}<b style="left:{percent(median)}"></b></div>'
        )
    return "".join(out) + share_axis("score of a model") + "</figure>"
