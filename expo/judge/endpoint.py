"""Queries to a judge behind an OpenAI-compatible endpoint. Replies are read, never evaluated."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from expo.text import install

if TYPE_CHECKING:
    import openai

_MARKS = r"[\s*_`'\"#>.()\[\]]*"
_VALUE = r"(?:(?i:solution )?(A|B)|((?i:tie)))"
_HEAD = rf"{_MARKS}(?i:(?:final )?verdict){_MARKS}"
_VERDICT_LINE = re.compile(rf"{_HEAD}:{_MARKS}{_VALUE}{_MARKS}")
_VERDICT_HEAD = re.compile(rf"{_HEAD}:?{_MARKS}")
_VERDICT_BOX = re.compile(
    rf"{_MARKS}(?:{_HEAD}:{_MARKS})?\$?\\boxed\{{(?:\\text\{{)?{_MARKS}{_VALUE}{_MARKS}\}}{{1,2}}\$?{_MARKS}"
)
_VERDICT_ALONE = re.compile(rf"{_MARKS}{_VALUE}{_MARKS}")


Key = tuple[str, str]  # problem, order
Row = dict[str, Any]


class JudgeError(RuntimeError):
    """The endpoint gives no votes; the message names the endpoint and the fix."""


def parse_verdict(reply: str) -> str | None:
    """Read the verdict "A", "B" or "TIE" from a reply, or None.

    The last line counts that is exactly `Verdict: A`, `Verdict: B` or `Verdict: TIE`, or that is `Verdict` with the
    word on the next line, or that is the word in a TeX box; or a whole reply that is just one of the three words.
    "Solution A" is A. Markdown emphasis, quotes, brackets and full stops are ignored; A and B must be capitals. Prose
    is not a verdict ("A careful count shows that B ...").
    """
    found = None
    lines = [line for line in reply.splitlines() if line.strip()]
    for line, after in zip(lines, [*lines[1:], ""], strict=False):
        match = _VERDICT_LINE.fullmatch(line) or _VERDICT_BOX.fullmatch(line)
        if match is None and _VERDICT_HEAD.fullmatch(line):
            match = _VERDICT_ALONE.fullmatch(after)
        found = match or found
    found = found or _VERDICT_ALONE.fullmatch(reply)
    return (found[1] or found[2]).upper() if found else None


@dataclass
class Asking:
    """The request settings that an endpoint accepts, as learnt from its refusals.

    Newer OpenAI models take `max_completion_tokens` instead of `max_tokens`, and some accept no temperature.
    """

    max_tokens: int
    limit: str = "max_tokens"
    temperature: float | None = 0.0

    def settings(self) -> dict[str, Any]:
        """The settings of a request."""
        chosen: dict[str, Any] = {self.limit: self.max_tokens}
        return chosen if self.temperature is None else {**chosen, "temperature": self.temperature}

    def gives_way(self, refusal: str) -> bool:
        """Whether a refusal names a setting that can be sent in another way; later requests then use that way."""
        if self.limit == "max_tokens" and "max_completion_tokens" in refusal:
            self.limit = "max_completion_tokens"
        elif self.temperature is not None and "temperature" in refusal:
            self.temperature = None
        else:
            return False
        return True


def connect(base_url: str | None, api_key: str | None, seconds: float) -> openai.OpenAI:
    """A client of an OpenAI-compatible endpoint, which waits at most this many seconds for a reply.

    Raises:
        ImportError: if `openai` is not installed.
        JudgeError: if OpenAI's own endpoint is used without a key.
    """
    try:
        import openai
    except ImportError as error:
        message = f"the model judge needs the openai client: {install('judge')}"
        raise ImportError(message) from error
    key = api_key or os.environ.get("OPENAI_API_KEY")
    if not key and not (base_url or os.environ.get("OPENAI_BASE_URL")):
        raise JudgeError(
            "no key for OpenAI's own endpoint: set OPENAI_API_KEY, or give another endpoint as base_url (--base_url)"
        )
    # The client refuses to start without a key; a server that needs none ignores it.
    return openai.OpenAI(base_url=base_url, api_key=key or "none", timeout=seconds)


def ask_all(
    client: openai.OpenAI,
    pending: dict[Key, str],
    model: str,
    asking: Asking,
    concurrency: int,
    progress: bool,
) -> dict[Key, Row]:
    """The judge's columns of a row, for each request.

    Raises:
        JudgeError: if the endpoint fails before its first answer, or answers no request.
    """
    answers: dict[Key, Row] = {}
    answered = False
    pool = ThreadPoolExecutor(concurrency)
    try:
        futures = {pool.submit(_ask, client, model, asking, key, text): key for key, text in pending.items()}
        for future in tqdm(as_completed(futures), total=len(futures), desc="judge", disable=not progress):
            try:
                answer = future.result()
            except JudgeError as error:
                # Once some votes are in, a failing endpoint must not lose them.
                if not answered:
                    raise
                answer = _failed(str(error))
            answered = answered or answer["vote"] != "failed"
            answers[futures[future]] = answer
    except KeyboardInterrupt:
        # Requests in flight are not waited for.
        client.close()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    if not answered:
        raise JudgeError(f"{client.base_url}: model {model!r} answered no request; the last error: {answer['error']}")
    return answers


def _ask(client: openai.OpenAI, model: str, asking: Asking, key: Key, content: str) -> Row:
    """Send one request. Raises JudgeError for errors that every further request would meet too."""
    import openai

    url = client.base_url
    try:
        response = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": content}],
            **asking.settings(),
        )
    except openai.BadRequestError as error:
        # Another thread may have found out in the meantime.
        if asking.gives_way(str(error)) or any(name not in asking.settings() for name in named(str(error))):
            return _ask(client, model, asking, key, content)
        return _failed(error.message)
    except openai.APITimeoutError:
        return _failed(f"no reply within {client.timeout:g} s")
    except openai.APIConnectionError as error:
        reason = error.__cause__ or error
        # A server that closes a connection after an error is alive, and may answer the next request.
        if type(reason).__name__ in ("ReadError", "WriteError", "RemoteProtocolError"):
            return _failed(f"the connection was closed ({reason})")
        raise JudgeError(f"{url}: no connection ({reason}); start the server or fix base_url") from error
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise JudgeError(f"{url}: refused ({error.message}); fix api_key or OPENAI_API_KEY") from error
    except openai.NotFoundError as error:
        fix = f"check the model name {model!r} and base_url, which usually ends in /v1"
        raise JudgeError(f"{url}: not found ({error.message}); {fix}") from error
    except openai.APIError as error:
        return _failed(error.message)
    # The client returns a web page or foreign JSON unchanged.
    if not getattr(response, "choices", None):
        return _failed(
            "no choices in the reply; check that base_url is an OpenAI-compatible endpoint, usually ending in /v1"
        )
    choice = response.choices[0]
    if choice.message is None:
        return _failed("the first choice in the reply has no message")
    # JSON may hold half of a surrogate pair, which cannot be written as text.
    reply = _words(choice.message.content).encode("utf-8", "replace").decode()
    return {
        "vote": _vote(parse_verdict(reply), key[1]),
        "reply": reply,
        "truncated": choice.finish_reason == "length",
        "error": "",
        "served_model": response.model,
    }


def named(refusal: str) -> list[str]:
    """The settings that a refusal mentions."""
    return [name for name in ("max_tokens", "temperature") if f"'{name}'" in refusal]


def _words(content: Any) -> str:
    """The text of a message, which may come in parts."""
    if isinstance(content, list):
        parts = (part.get("text") if isinstance(part, dict) else getattr(part, "text", None) for part in content)
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _vote(verdict: str | None, order: str) -> str:
    if verdict is None:
        return "unparsed"
    if verdict == "TIE":
        return "tie"
    return "first" if verdict == order[0] else "second"


def _failed(reason: str) -> Row:
    return {"vote": "failed", "reply": "", "truncated": False, "error": reason, "served_model": ""}
