"""The run folder: whole files or none, one recipe, one schema, and an error that says what to do for the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from expo import environment as environment_module
from expo.environment import environment, version_of
from expo.records import (
    RecordError,
    Run,
    begun_from,
    method_of,
    run_before,
    to_yaml,
    trained_by,
    write_atomic,
)
from expo.schema import SCHEMA, TABLES, as_frame

ROOT = Path(__file__).parent.parent
RECIPE = {"task": "chain", "samples": 2, "temperature": 0.9, "prompts": {"question": "{question}", "chat": True}}
FACTS = {"weights": "folder a", "problems": 6}


def metrics(rows: int = 3, value: float = 1.5) -> pd.DataFrame:
    return pd.DataFrame({"step": range(rows), "name": "own/nll_sum", "value": value})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.start(tmp_path / "run", RECIPE, **FACTS)
    run.write("metrics", metrics())
    return run


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that runs `code` with `arguments` in sys.argv[1:]."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)


# ---- tables


def test_a_table_comes_back_and_plain_pandas_reads_it(run: Run) -> None:
    frame = run.read("metrics")
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == TABLES["metrics"]
    pd.testing.assert_frame_equal(frame, metrics(), check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(run.path("metrics.parquet")), frame)
    with pytest.raises(AssertionError):
        pd.testing.assert_frame_equal(frame, metrics(value=1.25), check_dtype=False)
    assert run.has("metrics")
    assert not run.has("samples")


def test_the_schema_version_is_in_the_file(run: Run) -> None:
    assert pq.read_schema(run.path("metrics.parquet")).metadata[b"expo.schema"] == str(SCHEMA).encode()
    metrics().to_parquet(run.path("metrics.parquet"))
    with pytest.raises(RecordError, match="schema version none"):
        run.read("metrics")


def test_missing_values_stay_missing(run: Run) -> None:
    frame = pd.DataFrame({c: [None] for c in TABLES["samples"]}).assign(index=2**60 + 1)
    run.write("samples", frame)
    back = run.read("samples")
    assert back.drop(columns="index").isna().all(axis=None)
    assert back["index"][0] == 2**60 + 1  # no detour by a float


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (metrics().drop(columns="value"), r"missing columns \['value'\]"),
        (metrics().assign(more=1), r"unknown columns \['more'\]"),
        (metrics().assign(value="high"), "metrics: "),
        (metrics().assign(step=0.5), "metrics: "),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(run: Run, frame: pd.DataFrame, message: str) -> None:
    before = run.path("metrics.parquet").read_bytes()
    with pytest.raises(RecordError, match=message):
        run.write("metrics", frame)
    assert run.path("metrics.parquet").read_bytes() == before


def rewritten(path: Path, version: int = SCHEMA, **changes: Any) -> None:
    """The table with columns changed (None: dropped), under a version of choice."""
    frame = pd.read_parquet(path)
    for name, value in changes.items():
        frame = frame.drop(columns=name) if value is None else frame.assign(**{name: value})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    held = {**table.schema.metadata, b"expo.schema": str(version).encode()}
    pq.write_table(table.replace_schema_metadata(held), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": SCHEMA - 1},
            f"schema version {SCHEMA - 1}, but this toolkit reads {SCHEMA}; use the version that",
        ),
        (
            {"version": SCHEMA + 1},
            f"schema version {SCHEMA + 1}, but this toolkit reads {SCHEMA}; use the version that",
        ),
        ({"value": None}, r"lacks the columns \['value'\]; delete it and repeat the command that wrote it"),
        ({"value": "high"}, "is damaged .*; delete it and repeat the command that wrote it"),
    ],
)
def test_another_version_or_missing_columns(run: Run, change: dict[str, Any], message: str) -> None:
    path = run.path("metrics.parquet")
    rewritten(path)
    run.read("metrics")  # what the helper writes unchanged is read
    rewritten(path, **change)
    with pytest.raises(RecordError, match=message):
        run.read("metrics")
    pd.read_parquet(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_table_is_named(run: Run, share: float) -> None:
    path = run.path("metrics.parquet")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        RecordError, match=r"metrics\.parquet is damaged .*delete it and repeat the command that wrote it"
    ):
        run.read("metrics")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_damage_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    run = Run(tmp_path_factory.getbasetemp() / "damaged")
    run.write("metrics", metrics())
    content = bytearray(run.path("metrics.parquet").read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    run.path("metrics.parquet").write_bytes(content)
    with suppress(RecordError):
        run.read("metrics")


def test_what_is_missing_is_told_apart(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"samples\.parquet: no such table$"):
        run.read("samples")
    run.write("metrics", metrics(), "0000")
    with pytest.raises(RecordError, match="not finished: repeat its command"):
        run.read("samples")
    (tmp_path / "file").write_text("")
    for foreign in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        for ask in (Run(foreign).recipe, Run(foreign).environment, lambda f=foreign: Run(f).read("samples")):
            with pytest.raises(RecordError, match="is not a run folder: it has no "):
                ask()


def test_parts_are_named_and_do_not_make_a_table(run: Run) -> None:
    run.write("votes", as_frame("votes"), "0003")
    write_atomic(run.path("parts", "votes", ".0004.parquet.77.tmp"), "half")  # as a kill leaves it
    assert run.shards("votes") == {"0003"}
    assert not run.has("votes")
    assert run.read("votes", "0003").empty
    assert run.shards("samples") == set()


# ---- whole files or none

KILLED_BY_THE_KERNEL = """
    import resource, signal, sys
    from pathlib import Path
    from expo.records import write_atomic
    path, how, end = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    write = write_atomic if how == "atomic" else Path.write_bytes
    # A write beyond the limit ends the process in the middle of it, or fails, as on a full disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if end == "kill" else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    write(path, b"new" * (1 << 20))
"""


@pytest.mark.parametrize("end", ["kill", "full"])
def test_a_write_that_ends_in_the_middle_leaves_the_old_file(tmp_path: Path, end: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"old")
    ended = child(KILLED_BY_THE_KERNEL, path, "atomic", end)
    error = ended.communicate()[1]
    assert ended.returncode == (-signal.SIGXFSZ if end == "kill" else 1), error
    assert path.read_bytes() == b"old"
    drafts = [p.stat().st_size for p in tmp_path.iterdir() if p != path]
    assert drafts == ([1 << 20] if end == "kill" else [])  # a kill leaves a hidden draft, which no one reads

    planted = child(KILLED_BY_THE_KERNEL, path, "in place", end)
    planted.communicate()
    assert path.stat().st_size == 1 << 20  # half a file, as the test can tell


WRITER = """
    import sys
    import time
    import pandas as pd
    from pathlib import Path
    from expo import records
    def in_place(path, data):
        path.write_bytes(data[: len(data) // 2])
        time.sleep(0.01)  # however busy the machine is, a reader comes upon the half
        path.write_bytes(data)
    if sys.argv[2] == "in place":
        records.write_atomic = in_place
    run, value = records.Run(sys.argv[1]), 0
    while True:
        value += 1
        # Pages of two sizes: read by the other file's footer, they are damaged.
        rows = range(2000 + 100 * (value % 2))
        run.write("metrics", pd.DataFrame({"step": rows, "name": str(value), "value": float(value)}))
"""


def opened_twice(run: Run, table: str) -> pd.DataFrame:
    """A reader that opens a table for its footer and again for its pages, as `pq.read_table` does with a path."""
    path = run.path(f"{table}.parquet")
    footer = pq.read_metadata(path)
    time.sleep(0.01)  # however busy the machine is, a writer comes between
    try:
        return pq.ParquetFile(path, metadata=footer).read().to_pandas()
    except OSError as error:
        raise RecordError(str(error)) from error


def read_beside(folder: Path, how: str, read: Callable[[Run, str], pd.DataFrame], reads: int) -> bool:
    """Whether a damaged or mixed table is met in so many reads beside a writer that is then killed."""
    folder.mkdir()
    run, bad, seen = Run(folder), False, set()
    writer = child(WRITER, folder, how)
    try:
        while not run.has("metrics"):
            assert writer.poll() is None
        while len(seen) < reads and not bad:
            try:
                frame = read(run, "metrics")
            except RecordError:
                bad = True
                continue
            bad = len(frame) != 2000 + 100 * (frame["value"][0] % 2) or frame["value"].nunique() != 1
            seen.add(frame["value"][0])
    finally:
        writer.kill()
        writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    if how == "atomic":
        assert run.read("metrics")["value"].nunique() == 1
    return bad


@pytest.mark.slow
def test_a_reader_beside_a_writer_that_is_killed_sees_whole_tables(tmp_path: Path) -> None:
    assert not read_beside(tmp_path / "atomic", "atomic", Run.read, reads=200)
    assert read_beside(tmp_path / "in place", "in place", Run.read, reads=200)
    assert read_beside(tmp_path / "twice", "atomic", opened_twice, reads=200)


# ---- one recipe a folder


def test_a_run_goes_on_with_the_same_recipe(run: Run) -> None:
    again = Run.start(run.folder, RECIPE | {"ddp_timeout": 3600}, **FACTS)
    assert again.recipe() == RECIPE
    assert again.environment()["problems"] == 6
    assert again.has("metrics")


def test_another_recipe_is_refused_and_its_fields_named(run: Run) -> None:
    other = RECIPE | {"samples": 4, "prompts": {"question": "Q: {question}", "chat": True}, "seed": 1}
    with pytest.raises(RecordError, match="a different recipe") as error:
        Run.start(run.folder, other, **FACTS)
    assert "samples: 2 -> 4; seed: None -> 1" in str(error.value)
    assert "prompts.question: '{question}' -> 'Q: {question}'" in str(error.value)
    assert "temperature" not in str(error.value)
    assert "chat" not in str(error.value)
    assert "--output" in str(error.value)
    assert run.recipe() == RECIPE


@pytest.mark.parametrize("changed", [{"weights": "folder b"}, {"problems": 7}])
def test_an_unfinished_run_does_not_go_on_from_something_else(tmp_path: Path, changed: dict[str, Any]) -> None:
    run = Run.start(tmp_path / "run", RECIPE, **FACTS)
    Run.start(run.folder, RECIPE, **FACTS | {"weights": None})  # not known is not different
    with pytest.raises(
        RecordError, match=f"unfinished run that started under other conditions .*{next(iter(changed))}: .* -> "
    ):
        Run.start(run.folder, RECIPE, **FACTS | changed)
    run.write("metrics", metrics())
    Run.start(run.folder, RECIPE, **FACTS | changed)  # what is finished is only read


def test_an_unfinished_run_goes_on_though_its_error_is_measured_otherwise(tmp_path: Path) -> None:
    """Another number of threads rounds otherwise. The test above is the control: other facts are compared."""
    before, now = (FACTS | {"sampling_error": {"tokens": 9, "mean": mean}} for mean in (0.5, 0.5000001))
    run = Run.start(tmp_path / "run", RECIPE, **before)
    assert Run.start(run.folder, RECIPE, **now).environment()["sampling_error"] == before["sampling_error"]


def test_an_unfinished_run_of_another_schema_does_not_go_on(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", RECIPE, **FACTS)
    run.path("environment.json").write_text(json.dumps(run.environment() | {"schema": SCHEMA + 1}))
    with pytest.raises(RecordError, match=f"schema: {SCHEMA + 1} -> {SCHEMA}"):
        Run.start(run.folder, RECIPE, **FACTS)


def test_only_one_process_writes_to_a_run(run: Run) -> None:
    code = """
        import sys
        from expo.records import Run
        with Run(sys.argv[1]).writing():
            print("held")
    """
    with run.writing():
        beside = child(code, run.folder)
        assert "is being written by another process; wait for it, or stop it" in beside.communicate()[1]
        assert beside.returncode == 1
    after = child(code, run.folder)
    after.communicate()
    assert after.returncode == 0
    assert Run.start(run.folder, RECIPE, **FACTS).has("metrics")


@pytest.mark.slow
def test_a_killed_process_holds_no_run(run: Run) -> None:
    code = """
        import sys, time
        from expo.records import Run
        with Run(sys.argv[1]).writing():
            Run(sys.argv[1]).path("held").touch()
            time.sleep(600)
    """
    beside = child(code, run.folder)
    while not run.path("held").exists():
        assert beside.poll() is None
    beside.kill()
    beside.communicate()
    with run.writing():
        pass


def test_a_table_is_lacking_where_its_parts_are_there(run: Run) -> None:
    run.write("metrics", metrics(), "0000")
    assert not run.lacks_a_table()
    run.path("metrics.parquet").unlink()
    assert run.lacks_a_table()


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RecordError, match="is not empty and is not a run folder; choose another --output"):
        Run.start(tmp_path, RECIPE)
    with pytest.raises(RecordError, match="is a file"):
        Run.start(tmp_path / "thesis.tex", RECIPE)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert Run.start(empty, RECIPE).recipe() == RECIPE


def test_a_start_that_was_killed_can_be_given_again(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{}")
    (tmp_path / ".recipe.yaml.77.tmp").write_text("task: ch")
    run = Run.start(tmp_path, RECIPE, **FACTS)
    assert run.recipe() == RECIPE
    assert run.environment()["problems"] == 6


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("recipe.yaml", b"task: [chain\n"),
        ("recipe.yaml", b"- chain\n"),
        ("recipe.yaml", b"\xff\xfe\x00"),
        ("environment.json", b'{"schema": '),
        ("environment.json", b"[]"),
    ],
)
def test_a_damaged_head_is_named(run: Run, name: str, content: bytes) -> None:
    run.path(name).write_bytes(content)
    with pytest.raises(RecordError, match=f"(?s){name} is damaged .*; delete the run folder and repeat the command"):
        (run.recipe if name == "recipe.yaml" else run.environment)()


texts = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(st.dictionaries(texts, texts | st.floats(allow_nan=False) | st.booleans() | st.none() | st.lists(texts)))
@example({"prompt": "\x85\u2028"})
def test_a_recipe_comes_back_as_it_was(recipe: dict[str, Any]) -> None:
    # Were it to change on the way to the file and back, its run could never be gone on with.
    assert yaml.safe_load(to_yaml(recipe).encode().decode()) == recipe


def test_a_recipe_is_written_to_be_read() -> None:
    assert to_yaml({"prompt": "Löse: {question}"}) == "prompt: 'Löse: {question}'\n"
    planted = yaml.safe_dump({"prompt": "\x85"}, allow_unicode=True)
    assert yaml.safe_load(planted) != {"prompt": "\x85"}


# ---- what it ran on


def test_environment_says_what_it_ran_on() -> None:
    held = environment(seed=3)
    assert held["schema"] == SCHEMA
    assert held["seed"] == 3
    assert held["packages"]["torch"] == version_of("torch")
    assert json.loads(json.dumps(held)) == held
    assert version_of("no-such-package") is None


def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = subprocess.run(["git", "-C", str(ROOT), "describe", "--always"], capture_output=True, text=True, check=False)
    commit = environment()["commit"]
    assert (commit.removesuffix("-dirty") if commit else None) == (git.stdout.strip() if git.returncode == 0 else None)

    installed = tmp_path / "site-packages" / "expo"
    installed.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(environment_module, "__file__", str(installed / "environment.py"))
    assert environment()["commit"] is None  # the commit of a project around the installation is not ours


def test_a_commit_is_dirty_once_code_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for file in ("expo/environment.py", "theory/ledger.py", "figures/fig.png"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("1")
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(environment_module, "__file__", str(tmp_path / "expo" / "environment.py"))
    clean = environment()["commit"]
    assert not clean.endswith("-dirty")
    # What runs end in may change between two of them.
    (tmp_path / "figures" / "fig.png").write_text("2")
    assert environment()["commit"] == clean
    (tmp_path / "theory" / "ledger.py").write_text("2")
    assert environment()["commit"] == f"{clean}-dirty"


def test_a_field_that_an_older_record_lacks_is_at_its_default(tmp_path: Path) -> None:
    Run.start(tmp_path / "run", {"task": "chain"}, seed=0)
    Run.start(tmp_path / "run", {"task": "chain", "later": 0}, {"task": "stories", "later": 0}, seed=0)
    for changed in ({"task": "chain", "later": 1}, {"task": "stories", "later": 0}):
        with pytest.raises(RecordError, match="a different recipe"):
            Run.start(tmp_path / "run", changed, {"task": "stories", "later": 0}, seed=0)


@pytest.mark.parametrize(
    ("recipe", "method"),
    [
        ({"positive": "explanation"}, "explanation"),
        ({"positive": "explanation", "beta_sft": 0}, "none"),
        ({"positive": "none", "algorithm": "grpo"}, "none"),
        ({"positive": "answer", "algorithm": "sft"}, "sft_answer"),
        ({"positive": "explanation", "algorithm": "dpo", "refresh_steps": 0}, "dpo_explanation"),
        (
            {"positive": "explanation", "algorithm": "sft", "positive_choice": "posterior", "positive_tries": 3},
            "sft_explanation_posterior_3",
        ),
        (
            {"positive": "own_correct", "positive_choice": "best_joint", "positive_tries": 6},
            "own_correct_best_joint_6",
        ),
        (
            {"positive": "explanation", "positive_tokens": "most_moved", "positive_filter": ["right"]},
            "explanation_most_moved_right",
        ),
        ({"positive": "explanation", "algorithm": "dpo", "refresh_steps": 10}, "dpo_explanation_online"),
    ],
)
def test_a_method_is_what_a_training_learnt_from(recipe: dict[str, object], method: str) -> None:
    assert method_of(recipe) == method


def test_a_run_goes_on_wherever_its_policy_is_written_from(tmp_path: Path) -> None:
    Run.start(tmp_path / "run", {"policy": "runs/study/base-seed0"})
    for same in ("./runs/study/base-seed0", "/elsewhere/runs/study/base-seed0"):
        Run.start(tmp_path / "run", {"policy": same})
    for other in ("runs/study/base-seed1", "/elsewhere/other/base-seed0", "base-seed0"):
        with pytest.raises(RecordError, match="a different recipe"):
            Run.start(tmp_path / "run", {"policy": other})
    # A hub id is no path.
    Run.start(tmp_path / "hub", {"policy": "owner/name"})
    with pytest.raises(RecordError, match="a different recipe"):
        Run.start(tmp_path / "hub", {"policy": "/models/owner/name"})


def test_a_trained_policy_is_traced_to_its_beginning(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one / "model", one / "checkpoints" / "checkpoint-2", two / "model", tmp_path / "other" / "model"):
        folder.mkdir(parents=True)
    assert run_before(str(one / "model")) is None
    # A recipe of a user beside a model makes no run of it.
    (tmp_path / "other" / "recipe.yaml").write_text("policy: model", encoding="utf-8")
    assert run_before(str(tmp_path / "other" / "model")) is None
    for folder, policy, algorithm in ((one, "tiny-0", "sft"), (two, str(one / "model"), "grpo")):
        recipe = {"policy": policy, "algorithm": algorithm, "positive": "expert"}
        (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
        before = run_before(policy)
        facts = {"trained_from": begun_from(before), "trained_by": trained_by(before)}
        (folder / "environment.json").write_text(json.dumps(environment(**facts)), encoding="utf-8")

    def traced(policy: Path | str) -> tuple[str | None, list[str] | None]:
        before = run_before(str(policy))
        return begun_from(before), trained_by(before)

    assert traced(one / "model") == ("tiny-0", ["sft_expert"])
    assert traced(one / "checkpoints" / "checkpoint-2") == ("tiny-0", ["sft_expert"])
    assert traced(two / "model") == ("tiny-0", ["sft_expert", "expert"])
    # A record of before this was written down, which a training led to: the first of them is not known.
    old = {name: value for name, value in Run(two).environment().items() if name != "trained_by"}
    (two / "environment.json").write_text(json.dumps(old), encoding="utf-8")
    assert traced(two / "model") == ("tiny-0", None)
    assert traced(tmp_path / "other" / "model") == (None, None)
    assert traced("tiny-0") == traced("some/hub-id") == (None, None)
