from __future__ import annotations

import pytest

from expo.report.artefacts import Artefact
from expo.report.positives.fig2 import draw_fig2
from expo.report.positives.fig3 import draw_fig3
from expo.report.positives.measurements import Group, group_by_label
from expo.report.positives.temperature import draw_temperature

from ..records.positives import writer


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """A base with a judge and three temperatures, and a base with everything reversed."""
    make = writer(tmp_path_factory.mktemp("swept"))
    made = [make("tiny-0", judged=0.9), make("tiny-1", reverse=True)]
    for t, shift in ((0.5, -0.1), (1.2, 0.4)):
        made.append(make(f"tiny-0-t{t}", policy="tiny-0", temperature=t, shift=shift))
    (held,) = group_by_label(made)
    return held


@pytest.fixture(scope="session")
def drawn(swept: Group, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artefact]:
    """The three pictures of it."""
    out = tmp_path_factory.mktemp("drawn")
    return {f.__name__: f(swept, out) for f in (draw_fig2, draw_fig3, draw_temperature)}
