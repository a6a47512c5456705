from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from expo.report.positives.change import before_and_after, draw_change

from ..records.positives import Make


def trained(make: Make, name: str, base: str, by: list[str], **more: object):
    record = make(name, n=10, policy=f"runs/{name}/model", **more)
    path = record.run.path("environment.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "trained_from": base, "trained_by": by}))
    return type(record)(record.run)


def test_each_kind_is_shown_before_and_after(make: Make, tmp_path: Path) -> None:
    bases = [make(f"before-{base}", n=10, policy=base) for base in ("tiny-0", "tiny-1")]
    after = [trained(make, f"after-{b}", b, ["explanation"], shift=1.0) for b in ("tiny-0", "tiny-1")]
    runs = before_and_after([*bases, *after])
    assert runs == [*bases, *after]
    drawn = draw_change(runs, tmp_path / "out")
    numbers = drawn.numbers.set_index(["quantity", "source", "method"]).sort_index()
    assert set(numbers["bases"]) == {2}
    means = numbers["mean"]
    for source in ("own", "explanation", "expert"):
        rise = means["nll_per_token", source, "explanation"] - means["nll_per_token", source, "base"]
        assert rise == pytest.approx(1.0, abs=0.05)
    # What did not change has the same number.
    assert means["steps_true", "explanation", "base"] == means["steps_true", "explanation", "explanation"] == 1
    one = bases[0].samples.query("source == 'own'").groupby("problem")["learning_signal"].mean()
    two = bases[1].samples.query("source == 'own'").groupby("problem")["learning_signal"].mean()
    assert means["learning_signal", "own", "base"] == pytest.approx((one.mean() + two.mean()) / 2)
    assert "NLL per token of the self-explanation, over 10 problems: before training 0.2" in drawn.reading
    assert re.search(r"before training 0\.2\d+ \[0\.2\d+, 0\.2\d+\] and after ExP-GRPO 1\.2\d* \[", drawn.reading)
    text = drawn.shown.read_text(encoding="utf-8")
    assert text.index("| self-explanation | before training |") < text.index("| self-explanation | ExP-GRPO |")


def test_measurements_that_differ_in_more_than_the_policy_are_not_compared(make: Make) -> None:
    base = make("before", n=10, policy="tiny-0")
    assert before_and_after([base]) == []
    with pytest.raises(ValueError, match="before and after training differ in temperature, and cannot be compared"):
        before_and_after([base, trained(make, "after", "tiny-0", ["explanation"], temperature=0.5)])
    unknown = trained(make, "unknown", "tiny-0", ["explanation", "dpo_expert"])
    assert before_and_after([base, unknown]) == []
    # A base from which nothing was trained has no part in what was before.
    other, after = make("other", n=10, policy="tiny-7", shift=5.0), trained(make, "later", "tiny-0", ["explanation"])
    assert before_and_after([base, other, after]) == [base, after]
