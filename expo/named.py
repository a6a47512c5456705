"""Check the run that a flag gives to a command: its record must come from the job that the command needs."""

from __future__ import annotations

from expo.records import RecordError, Run, job_of


def named_run(folder: str, job: str, flag: str = "--run") -> Run:
    """Open the run of a job that a flag names.

    Raises:
        RecordError: if there is none, or it comes from another job.
    """
    run = Run(folder)
    if not run.path("recipe.yaml").is_file():
        lacks = "it has no recipe.yaml" if run.folder.exists() else "there is no such folder"
        raise RecordError(f"{flag} {folder} is not a run folder: {lacks}; give the folder of a run of `expo {job}`")
    if (other := job_of(run.recipe())) != job:
        fix = f"; make one with `expo {job} --policy {run.path('model')}`" if other == "train" else ""
        raise RecordError(f"{flag} {folder} is a record of `expo {other}`, but a record of `expo {job}` is needed{fix}")
    return run
