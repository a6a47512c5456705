"""The `expo` command, thin: one function per job."""

from __future__ import annotations

import functools
import gc
import hashlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from expo.signals import handling

HELP = """\
usage: expo JOB [--flag value ...] [--config recipe.yaml]

Self-explanation policy optimization: which positive samples should a policy be trained on?

jobs, in the order you would use them
  doctor      what each job still needs on this machine, and the command that installs it
  measure     sample own CoTs and self-explanations, score them and the expert CoT, print Table 1's verdicts
  sample      sample and score self-explanations only, and write them as a folder for datasets.load_dataset
  train       train with ExP-GRPO, GRPO, ExP-DPO, or SFT on positives of any kind, with evaluations by level
  evaluate    measure a policy's accuracy and pass@k by level
  gradients   measure gradients of positives, and what a step along them does to the probability of a right answer
  judge       have a model behind an OpenAI-compatible endpoint compare explanations with own CoTs
  grade       grade answers with several graders side by side, and give the reason for each verdict
  reproduce   carry out all runs of a study and draw its figures
  report      show the records of these jobs on one HTML page: which positives should I train on?
  completion  print a script that lets your shell complete jobs, flags and values

first steps
  expo doctor
  expo measure --task chain --policy tiny-0                (a toy, in seconds)
  expo measure --task stories --policy smollm2-135m --problems 20
  expo measure --task jsonl --data mine.jsonl --policy smollm2-135m
  expo measure --config recipe.yaml --temperature 0.5      flags override the recipe
  expo report runs/measure/FOLDER                          the folder that expo measure printed
  expo train --task chain --policy tiny-0 --levels 5 --max_steps 20 --learning_rate 3e-4

`expo JOB --help` lists a job's usual flags, and `expo JOB --help-all` all of them. Repeat the command of a stopped
job to resume it.
"""


_ASKS_FOR_HELP = ("-h", "--help", "help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a job; if an error's message explains it, print it without a traceback.

    Returns:
        0 if the job succeeded, 1 if it failed, 2 if the command line is wrong, 130 if Ctrl-C stopped it,
        and 143 if SIGTERM did.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args and args[0] not in (*JOBS, *_ASKS_FOR_HELP):
        from difflib import get_close_matches

        near = get_close_matches(args[0], JOBS, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(JOBS)}. Try: expo --help"
        print(f"expo: unknown job {args[0]!r}; {hint}", file=sys.stderr)
        return 2
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        if not args or args[0] in _ASKS_FOR_HELP:
            print(HELP, flush=True)
            return 0
        with handling(signal.SIGTERM, _interrupt):
            return JOBS[args[0]](args[1:])
    except KeyboardInterrupt as stopped:
        print("\nexpo: stopped; repeat the command to resume from what was saved", file=sys.stderr)
        # The exit code that a shell gives for a signal; at Ctrl-C Python passes no signal number.
        return 128 + next((number for number in stopped.args if isinstance(number, int)), signal.SIGINT)
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe; nothing must be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # Recognised by name: safetensors is slow to import, and its error has no more specific base class than
        # Exception.
        told = isinstance(error, _TOLD) or type(error).__name__ == "SafetensorError"
        if not told or os.environ.get("EXPO_TRACEBACK"):
            raise
        hint = next((hint for words, hint in _HINTS.items() if words in str(error)), "")
        from tqdm import tqdm

        # On its own line, above the progress bar of the job that failed.
        tqdm.write(f"expo {args[0]}: {error}{hint}", file=sys.stderr)
        return 1


def _interrupt(number: int, _: object) -> None:
    """Interrupt a job at SIGTERM as Ctrl-C does, but with the number of this signal."""
    raise KeyboardInterrupt(number)


_TOLD = (ValueError, ArithmeticError, OSError, ImportError, RuntimeError)
_FEWER = "; repeat the command with a lower --rows (samples decoded at a time) to resume"
_FULL = "; the disk is full: free some space and repeat the command to resume from what was saved"
_HINTS = dict.fromkeys(("allocate memory", "out of memory"), _FEWER)
# The second is torch's message when a disk is full.
_HINTS |= dict.fromkeys(("No space left", "inline_container", "quota exceeded"), _FULL)


def measure_job(argv: list[str]) -> int:
    """`expo measure`."""
    from expo.flags import Where, parse
    from expo.recipe import MeasureRecipe

    recipe, where = parse("measure", [MeasureRecipe, Where], argv, "Measure positives and print Table 1's verdicts.")
    folder = _output(where, "measure", recipe)
    from expo.measure.run import measure
    from expo.measure.show import show
    from expo.terminal import record_of

    run = measure(recipe, folder)
    print(show(run), record_of(run), sep="\n")
    return 0


def sample_job(argv: list[str]) -> int:
    """`expo sample`."""
    from expo.flags import DatasetArguments, Where, parse
    from expo.recipe import MeasureRecipe

    recipe, where, dataset = parse(
        "sample",
        [MeasureRecipe, Where, DatasetArguments],
        argv,
        "Sample self-explanations and write them as a dataset folder with a card.",
        # Only self-explanations are sampled.
        unlisted=("sources", "controls"),
    )
    usual = MeasureRecipe()
    for name, accepted in (("sources", (usual.sources, ["explanation"])), ("controls", (usual.controls, 0))):
        if getattr(recipe, name) not in accepted:
            raise ValueError(f"{name}: expo sample writes only self-explanations; for other kinds use expo measure")
    recipe = replace(recipe, sources=["explanation"])
    folder = _output(where, "measure", recipe)
    from expo.dataset import check_folder, push, write_dataset
    from expo.measure.run import measure
    from expo.records import Run
    from expo.terminal import record_of

    out = Path(dataset.dataset or Path("self-explanations", folder.name))
    if not Run(folder).has("samples"):
        check_folder(out)
    run = measure(recipe, folder)
    out = write_dataset(run, out)
    print(f"{out}: load it with datasets.load_dataset({str(out)!r})")
    print(f"to train on it: expo train {_flags_of(recipe)} --positive_data {shlex.quote(str(out))}")
    if dataset.push_to_hub:
        push(out, dataset.push_to_hub)
        print(f"pushed to https://huggingface.co/datasets/{dataset.push_to_hub}")
    print(record_of(run))
    return 0


def _flags_of(recipe: Any) -> str:
    """The flags that give a training the problems and the policy of another recipe."""
    names = ("task", "data", "columns", "split", "seed", "policy")
    given = [(name, getattr(recipe, name)) for name in names if getattr(recipe, name) is not None]
    return " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in given)


def train_job(argv: list[str]) -> int:
    """`expo train`."""
    from expo.flags import parse_train

    recipe, where = parse_train(argv)
    from accelerate import PartialState

    from expo.records import refuse_file
    from expo.train.plan import describe
    from expo.train.run import refuse_another

    # Each process of `accelerate launch` runs all of this.
    state = PartialState()
    say = functools.partial(print, flush=True) if state.is_main_process else lambda *_: None
    folder = Path(where.output) if where.output else default_folder("train", recipe)
    refuse_file(folder)
    if not where.dry_run:
        # Refused before the long plan is printed.
        refuse_another(folder, recipe)
    say(describe(recipe, where.calibration, folder, traced=state.is_main_process))
    if not where.dry_run:
        _train(recipe, where, folder, say)
    # A process may abort if it exits while threads of its process group are alive, and the trainer keeps them alive.
    gc.collect()
    state.destroy_process_group()
    return 0


def _train(recipe: Any, where: Any, folder: Path, say: Callable[..., None]) -> None:
    from accelerate import PartialState

    from expo.records import Run
    from expo.terminal import record_of
    from expo.train.card import push_model
    from expo.train.run import resume_status, train
    from expo.train.show import show

    # `train` itself says where an unfinished run resumes, once all checks have passed.
    status = resume_status(Run(folder), recipe) if Run(folder).has("evaluation") else ""
    say(f"record: {folder}/{status}")
    try:
        run = train(recipe, folder)
    except KeyboardInterrupt:
        status = resume_status(Run(folder), recipe) or " has no checkpoint yet: training will start from the first step"
        say(f"\n{folder}/{status}")
        raise
    say(show(run))
    if where.repository and PartialState().is_main_process:
        push_model(run, where.repository)
        say(f"pushed to https://huggingface.co/{where.repository}")
    say(record_of(run))


def evaluate_job(argv: list[str]) -> int:
    """`expo evaluate`."""
    from expo.flags import EvaluateArguments, parse
    from expo.recipe import EvaluateRecipe

    about = "Measure a policy's accuracy and pass@k by level."
    recipe, where = parse("evaluate", [EvaluateRecipe, EvaluateArguments], argv, about)
    folder = _output(where, "evaluate", recipe)
    from expo import audit
    from expo.evaluate import evaluate_run
    from expo.named import named_run
    from expo.terminal import record_of
    from expo.train.show import show, show_change

    before = named_run(where.before, "evaluate", "--before") if where.before else None
    run = evaluate_run(recipe, folder)
    print(show(run))
    if before:
        print(f"{show_change(before, run)}\n")
    if run.has("grades"):
        print(f"{audit.show(run.read('grades'))}\n")
    print(record_of(run))
    return 0


def gradients_job(argv: list[str]) -> int:
    """`expo gradients`."""
    from expo.flags import Where, parse
    from expo.recipe import GradientRecipe

    about = "Measure gradients of positives, and what a step along them does to J, the probability of a right answer."
    # Gradients accept only one value of each.
    refused = ("engine", "sampling_dtype")
    recipe, where = parse("gradients", [GradientRecipe, Where], argv, about, unlisted=refused)
    folder = _output(where, "gradients", recipe)
    from expo.gradients.run import measure_gradients
    from expo.gradients.show import show
    from expo.terminal import record_of

    run = measure_gradients(recipe, folder)
    print(show(run), record_of(run), sep="\n")
    return 0


def judge_job(argv: list[str]) -> int:
    """`expo judge`."""
    from expo.flags import JudgeArguments, parse

    (arguments,) = parse(
        "judge",
        [JudgeArguments],
        argv,
        "Have a model vote whether a self-explanation or an own CoT has more correct steps.",
    )
    from expo.judge.run import judge
    from expo.named import named_run

    if arguments.max_tokens < 1 or not 0 < arguments.timeout < float("inf"):
        raise ValueError("max_tokens must be at least 1, and timeout above 0")
    print(
        judge(
            named_run(arguments.run, "measure"),
            arguments.model,
            arguments.base_url,
            arguments.problems,
            max_tokens=arguments.max_tokens,
            seconds=arguments.timeout,
        )
    )
    return 0


def grade_job(argv: list[str]) -> int:
    """`expo grade`."""
    from expo.flags import GradeArguments, parse

    about = "Grade texts with several graders side by side, and give the reason for each verdict."
    (asked,) = parse("grade", [GradeArguments], argv, about)
    if asked.run is not None:
        return _audit(asked)
    from expo.grade import Row, grade, read_rows, show, write
    from expo.tasks.problem import in_lines
    from expo.text import plural

    ways = [asked.file is not None, asked.text is not None, asked.answer is not None]
    if sum(ways) != 1 or (asked.gold is None) != (asked.file is not None):
        raise ValueError("give --gold with either --text or --answer, or --file alone, or --run alone")
    if asked.limits is not None:
        raise ValueError("limits: applies only with --run")
    out = Path(asked.output).expanduser() if asked.output else None
    if out and out.exists():
        raise ValueError(f"output: {out} exists; choose another name, or delete it")
    if asked.file is not None:
        rows, skips = read_rows(Path(asked.file))
    else:
        text = asked.text if asked.answer is None else rf"\boxed{{{asked.answer}}}"
        rows, skips = [Row(asked.gold, text, where="--gold")], []
    graded, unread = grade(rows, asked.tolerance)
    left_out = "".join(f"\n  {line}" for line in in_lines([*skips, *unread], 5))
    if not graded:
        raise ValueError((f"{asked.file}: " if asked.file else "") + "nothing to grade" + (left_out and f":{left_out}"))
    print(show(graded, alone=asked.file is None))
    if left_out:
        print(f"\nskipped: {plural(len(skips) + len(unread), 'line')}{left_out}")
    if out:
        write(graded, out)
        print(f"\nall verdicts: {out}")
    return 0


def _audit(asked: Any) -> int:
    others = [name for name in ("gold", "text", "answer", "file", "output") if getattr(asked, name) is not None]
    others += ["tolerance"] if asked.tolerance else []
    if others:
        raise ValueError(
            f"run: a record already has its ground truths, texts and rules; leave out --{' and --'.join(others)}"
        )
    from expo.audit import audit, show
    from expo.named import named_run

    run = named_run(asked.run, "evaluate")
    with run.writing():
        grades = audit(run, asked.limits or ())
    print(show(grades))
    print(f"\nby problem: {run.path('grades.parquet')}")
    return 0


def reproduce_job(argv: list[str]) -> int:
    """`expo reproduce`."""
    from expo.flags import StudyArguments, parse

    (arguments,) = parse("reproduce", [StudyArguments], argv, "Carry out all runs of a study and draw its figures.")
    runs = Path(arguments.runs)
    if arguments.check:
        return _check(Path(arguments.figures or "figures"), runs)
    from expo.reproduce import reproduce
    from expo.study import default_figures, load_study

    study = load_study(arguments.study)
    figures = Path(arguments.figures) if arguments.figures else default_figures(study, runs)
    if reproduce(study, runs, figures, only_draw=arguments.only_draw):
        print(f"figures and their numbers: {figures}/")
    return 0


def _check(figures: Path, runs: Path) -> int:
    from expo.provenance import check_figures, show_checked

    checked = check_figures(figures, runs)
    print(show_checked(checked))
    return int(any(artefact.stale for artefact in checked))


def report_job(argv: list[str]) -> int:
    """`expo report`."""
    from expo.flags import ReportArguments, parse

    # The folders come first, without a flag.
    first = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    named = ["--runs", *argv[:first]] if first else []
    about = "Show records on one HTML page that needs no network: which positives should I train on?"
    usage = "expo report RUN [RUN ...] [--output FILE]"
    (asked,) = parse("report", [ReportArguments], [*named, *argv[first:]], about, usage=usage)
    from expo.report.html.build import write_report

    page, left_out = write_report([Path(run).expanduser() for run in asked.runs], asked.output)
    for sentence in left_out[:5]:
        print(sentence)
    if len(left_out) > 5:
        print(f"... and {len(left_out) - 5} more; the page says which")
    print(f"report: {page} (open it in a browser; {page.stat().st_size / 1e6:.1f} MB, needs no network)")
    return 0


def doctor_job(argv: list[str]) -> int:
    """`expo doctor`."""
    from expo.flags import DoctorArguments, parse

    (asked,) = parse(
        "doctor",
        [DoctorArguments],
        argv,
        "Show what each job still needs on this machine, and what is installed and found.",
    )
    if asked.calibrate:
        from expo.calibration import calibrate, default_file, table

        print("\n".join([*table(calibrate()), "", f"saved to {default_file()}; expo train --dry_run uses it"]))
        return 0
    if asked.studies:
        from expo import doctor_studies

        print(doctor_studies.report())
        return 0
    from expo.doctor import report

    print(report())
    return 0


def completion_job(argv: list[str]) -> int:
    """`expo completion`."""
    from expo.flags import CompletionArguments, parse

    about = 'Print a script that completes jobs, flags and values: eval "$(expo completion --shell bash)"'
    (asked,) = parse("completion", [CompletionArguments], argv, about)
    from expo.completion import script

    print(script(asked.shell, JOBS), end="")
    return 0


JOBS: dict[str, Callable[[list[str]], int]] = {
    "doctor": doctor_job,
    "measure": measure_job,
    "sample": sample_job,
    "train": train_job,
    "evaluate": evaluate_job,
    "gradients": gradients_job,
    "judge": judge_job,
    "grade": grade_job,
    "reproduce": reproduce_job,
    "report": report_job,
    "completion": completion_job,
}


def _output(where: Any, job: str, recipe: Any) -> Path:
    """The run folder; prints a message if part of its record already exists."""
    folder = Path(where.output) if where.output else default_folder(job, recipe)
    from expo.records import Run
    from expo.workers import is_first

    if Run(folder).is_begun() and is_first():
        print(f"{folder}/ holds part of this run: resuming", flush=True)
    return folder


def default_folder(job: str, recipe: Any) -> Path:
    """A separate folder for each recipe: the same command finds its run again, and no other command does."""
    from expo.policies.names import called
    from expo.records import identity

    digest = hashlib.sha256(json.dumps(identity(recipe.resolved()), sort_keys=True).encode()).hexdigest()[:8]
    runs = Path("runs", job)
    # The hash alone identifies the recipe: an earlier version wrote the policy's name differently.
    return next(runs.glob(f"*-{digest}"), runs / f"{recipe.task}-{called(recipe.policy)}-{digest}")


if __name__ == "__main__":
    sys.exit(main())
