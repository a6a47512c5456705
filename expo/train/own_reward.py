"""A user's own reward function: found by name, checked before the run, and its values checked at each step."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trl.trainer.utils import is_async_callable

from expo.train.rewards import AnswerReward

# What TRL passes by keyword; `positive` is there too, unless nothing is added to the loss.
_GIVEN = ("prompts", "completions", "completion_ids", "problem", "answer", "level", "positive")
_ALSO_GIVEN = ("trainer_state", "log_extra", "log_metric")


@dataclass(frozen=True)
class OwnReward:
    """A reward function as the recipe names it (`place`), callable by keyword, and the file that it is written in."""

    place: str
    function: Callable[..., Any]
    file: Path | None

    def graded_beside(self, watched: Callable[..., Any], answer: AnswerReward) -> Callable[..., Any]:
        """`watched`, the function as the trainer calls it, with its values checked; answers are graded for the record.

        TRL excludes a completion from its group if every reward function returns None for it. A second function would
        always return a number, so TRL is not given the grades as one.
        """

        def checked(rewards: Any, given: dict[str, Any]) -> list[float | None]:
            values = _values(rewards, given["completions"], self.place)
            grades = answer(**given)
            given["log_extra"]("answer_reward", grades)
            for grade in grades:
                given["log_metric"](f"rewards/{answer.__name__}/mean", grade)
            return values

        if is_async_callable(watched):

            async def later(**given: Any) -> list[float | None]:
                try:
                    rewards = await watched(**given)
                except Exception as error:
                    raise RuntimeError(self._failure(error)) from error
                return checked(rewards, given)

            return later

        def at_once(**given: Any) -> list[float | None]:
            try:
                rewards = watched(**given)
            except Exception as error:
                raise RuntimeError(self._failure(error)) from error
            return checked(rewards, given)

        return at_once

    def _failure(self, error: Exception) -> str:
        """What the function raised, with the last line of the user's file that was reached."""
        # The trainer's own error names the function and the completion.
        named = isinstance(error, RuntimeError) and str(error).startswith("reward function")
        said = str(error) if named else f"reward: {self.place} raised {type(error).__name__}: {error}"
        raised: BaseException | None = error
        while raised is not None:
            for frame in reversed(traceback.extract_tb(raised.__traceback__)):
                if self.file is not None and Path(frame.filename) == self.file:
                    return f"{said}\n{frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}"
            raised = raised.__cause__
        return said


def own_reward(place: str) -> OwnReward:
    """A user's reward function, named as `module:function` or `path/to/file.py:function`; its module is run.

    TRL calls it with `prompts`, `completions`, `completion_ids` and the dataset's `problem`, `answer` and `level`. Any
    callable will do: a function, async or not, a `functools.partial`, or an object with `__call__`.

    Raises:
        ValueError: if there is none by that name, or if it cannot be called with these arguments.
    """
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise ValueError(f"reward: {place!r} names no function; write module:function or path/to/file.py:function")
    file = Path(where).expanduser()
    try:
        module = _module(str(file.resolve()) if where.endswith(".py") else where)
    except Exception as error:
        raise ValueError(f"reward: {where} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if inspect.isclass(function):
        raise ValueError(f"reward: {place} is a class; name an instance of it, such as `reward = {name}()`")
    if not callable(function):
        there = sorted(n for n, value in vars(module).items() if inspect.isfunction(value) and not n.startswith("_"))
        raise ValueError(f"reward: {where} has no function {name!r}; it has {', '.join(there) or 'none'}")
    if name == "answer":
        raise ValueError(f"reward: {name!r} is the name under which right answers are counted; rename your function")
    _check_arguments(place, function)
    return OwnReward(place, _named(name, function), _file_of(function, module))


def source_of(reward: OwnReward) -> str:
    """The first digits of the SHA-256 of the file that a reward function is written in."""
    return hashlib.sha256(reward.file.read_bytes() if reward.file else b"").hexdigest()[:12]


def in_plan(place: str | None) -> str:
    """A line for the plan of a training: which function is the reward, and where it is written; none without one.

    Raises:
        ValueError: as `own_reward` says.
    """
    if place is None:
        return ""
    file = own_reward(place).file
    return f"\nreward        {place}" + (f", from {file}" if file else "")


@functools.cache
def _module(where: str) -> ModuleType:
    """A module by name, or a file as one; run once. What stands in the working folder is found."""
    if where.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Where dataclasses look for their module.
        sys.modules.setdefault(module.__name__, module)
        spec.loader.exec_module(module)
        return module
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    finally:
        sys.path.remove(str(Path.cwd()))


def _check_arguments(place: str, function: Callable[..., Any]) -> None:
    """Refuse a function that TRL's keyword arguments do not fit, before anything is sampled."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Compiled code may not say what it takes.
        return
    try:
        signature.bind(**dict.fromkeys((*_GIVEN, *_ALSO_GIVEN)))
    except TypeError as error:
        raise ValueError(
            f"reward: {place} takes {signature}, but is called with {', '.join(_GIVEN)} and others by keyword: {error}"
            ". Name those that you use, and end with **_ for the rest"
        ) from error


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under the name by which the recipe knows it and TRL logs it: partials and objects have none."""

    async def later(**given: Any) -> Any:
        return await function(**given)

    def at_once(**given: Any) -> Any:
        return function(**given)

    named = later if is_async_callable(function) else at_once
    named.__name__ = name
    return named


def _file_of(function: Any, module: ModuleType) -> Path | None:
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return Path(inspect.getfile(inspect.unwrap(function)))
    except TypeError:
        # Compiled code; what a built-in module has is in no file at all.
        file = getattr(module, "__file__", None)
        return Path(file) if file else None


def _values(rewards: Any, completions: list[Any], place: str) -> list[float | None]:
    """Rewards as numbers; None, TRL's "does not apply", stays.

    Raises:
        ValueError: if they are not one finite number or None per completion.
    """
    if not isinstance(rewards, Iterable) or isinstance(rewards, str | dict):
        raise ValueError(f"reward: {place} returned {rewards!r:.100}; it must return a list, one reward per completion")
    values = list(rewards)
    if len(values) != len(completions):
        raise ValueError(f"reward: {place} returned {len(values)} rewards for {len(completions)} completions")
    for index, value in enumerate(values):
        if not _is_reward(value):
            raise ValueError(
                f"reward: {place} returned {value!r:.100} for completion {index} (counted from 0); a reward is a "
                f"finite number, or None where it does not apply. That completion: {completions[index]!r:.300}"
            )
    return [None if value is None else float(value) for value in values]


def _is_reward(value: Any) -> bool:
    """Whether it is None or a finite number, be it Python's, NumPy's or a tensor's; text that reads as one is not."""
    if value is None:
        return True
    if isinstance(value, str | bytes):
        return False
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, RuntimeError):
        return False
