"""Asking a judge behind an OpenAI-compatible endpoint. Replies are read, never evaluated."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    import openai

_MARKS = r"[\s*_`'\"#>.()\[\]]*"
_VERDICT_LINE = re.compile(rf"{_MARKS}(?i:(?:final )?verdict){_MARKS}:{_MARKS}(A|B|(?i:tie)){_MARKS}")
_VERDICT_ALONE = re.compile(rf"{_MARKS}(A|B|(?i:tie)){_MARKS}")


Key = tuple[str, str]  # problem, order
Row = dict[str, Any]


class JudgeError(RuntimeError):
    """The endpoint gives no votes; the message names it and the fix."""


def parse_verdict(reply: str) -> str | None:
    """The verdict "A", "B" or "TIE" of a reply, or None.

    What counts is the last line that is `Verdict: A`, `Verdict: B` or `Verdict: TIE` and nothing more, or a
    whole reply that is one of the three words and nothing more. Markdown emphasis, quotes, brackets and full
    stops are ignored; A and B must be capitals. Prose is no verdict ("A careful count shows that B ...").
    """
    lines = [match for line in reply.splitlines() if (match := _VERDICT_LINE.fullmatch(line))]
    match = lines[-1] if lines else _VERDICT_ALONE.fullmatch(reply)
    return match[1].upper() if match else None


def connect(base_url: str | None, api_key: str | None) -> openai.OpenAI:
    """A client of an OpenAI-compatible endpoint.

    Raises:
        ImportError: if `openai` is not installed.
        JudgeError: for OpenAI's own endpoint without a key.
    """
    try:
        import openai
    except ImportError as error:
        message = "the model judge needs the openai client: pip install 'expo-toolkit[judge]'"
        raise ImportError(message) from error
    key = api_key or os.environ.get("OPENAI_API_KEY")
    if not key and not (base_url or os.environ.get("OPENAI_BASE_URL")):
        raise JudgeError("no key for OpenAI's own endpoint: set OPENAI_API_KEY, or name another by base_url")
    # The client refuses to start without a key; a server that wants none ignores it.
    return openai.OpenAI(base_url=base_url, api_key=key or "none")


def ask_all(
    client: openai.OpenAI,
    pending: dict[Key, str],
    model: str,
    max_tokens: int,
    concurrency: int,
    progress: bool,
) -> dict[Key, Row]:
    """The judge's columns of a row for each request.

    Raises:
        JudgeError: if the endpoint fails before it has answered anything, or answers no request.
    """
    answers: dict[Key, Row] = {}
    answered = False
    pool = ThreadPoolExecutor(concurrency)
    try:
        futures = {pool.submit(_ask, client, model, max_tokens, key, text): key for key, text in pending.items()}
        for future in tqdm(as_completed(futures), total=len(futures), desc="judge", disable=not progress):
            try:
                answer = future.result()
            except JudgeError as error:
                # Once some votes are in, an endpoint that goes away must not take them along.
                if not answered:
                    raise
                answer = _failed(str(error))
            answered = answered or answer["vote"] != "failed"
            answers[futures[future]] = answer
    finally:
        pool.shutdown(cancel_futures=True)
    if not answered:
        raise JudgeError(f"{client.base_url}: model {model!r} answered no request; the last: {answer['error']}")
    return answers


def _ask(client: openai.OpenAI, model: str, max_tokens: int, key: Key, content: str) -> Row:
    """One request. Raises JudgeError for what every further request would meet as well."""
    import openai

    url = client.base_url
    try:
        response = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": content}],
            temperature=0,
            max_tokens=max_tokens,
        )
    except openai.APIConnectionError as error:
        reason = error.__cause__ or error
        # A server that closes a connection after an error is there, and the next request may be answered.
        if type(reason).__name__ in ("ReadError", "WriteError", "RemoteProtocolError"):
            return _failed(f"the connection was closed ({reason})")
        raise JudgeError(f"{url}: no connection ({reason}); start the server or fix base_url") from error
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise JudgeError(f"{url}: refused ({error.message}); fix api_key or OPENAI_API_KEY") from error
    except openai.NotFoundError as error:
        fix = f"check the model's name, {model!r}, and base_url, which mostly ends in /v1"
        raise JudgeError(f"{url}: not found ({error.message}); {fix}") from error
    except openai.APIError as error:
        return _failed(error.message)
    # The client hands back a web page or a foreign JSON as it is.
    if not getattr(response, "choices", None):
        return _failed("no choices in the reply: is base_url an OpenAI-compatible endpoint, ending in /v1?")
    choice = response.choices[0]
    if choice.message is None:
        return _failed("no message in the reply's first choice")
    # JSON may hold half of a surrogate pair, which is no text that can be written.
    reply = (choice.message.content or "").encode("utf-8", "replace").decode()
    return {
        "vote": _vote(parse_verdict(reply), key[1]),
        "reply": reply,
        "truncated": choice.finish_reason == "length",
        "error": "",
        "served_model": response.model,
    }


def _vote(verdict: str | None, order: str) -> str:
    if verdict is None:
        return "unparsed"
    if verdict == "TIE":
        return "tie"
    return "first" if verdict == order[0] else "second"


def _failed(reason: str) -> Row:
    return {"vote": "failed", "reply": "", "truncated": False, "error": reason, "served_model": ""}
