"""Pushing to the hub, to a new private repository or an empty one; existing files are never replaced."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import httpx2  # the HTTP library of huggingface_hub, whose errors pass through when there is no network
from huggingface_hub import CommitOperationAdd, HfApi

from expo.records import RecordError


def upload(files: Mapping[str, Path | bytes], repo: str, kind: str, what: str) -> None:
    """Push files, by their paths in the repository, to a repository of a kind (`dataset` or `model`).

    Raises:
        ConnectionError: if the hub cannot be reached or refuses; the message says `what` was not pushed.
        RecordError: if the repository already holds files; they are left unchanged.
    """
    api = HfApi()
    try:
        api.create_repo(repo, repo_type=kind, private=True, exist_ok=True)
        there = set(api.list_repo_files(repo, repo_type=kind)) - {".gitattributes"}
        if not there:
            operations = [CommitOperationAdd(name, content) for name, content in files.items()]
            with warnings.catch_warnings():
                # A record's tables next to its policy are intended.
                warnings.filterwarnings("ignore", ".*commit a data file", UserWarning)
                api.create_commit(repo, operations, commit_message="By expo", repo_type=kind)
    except (OSError, ValueError, httpx2.HTTPError) as error:
        raise ConnectionError(f"{what} was not pushed to {repo}: {error}; fix this and repeat the command") from error
    if there:
        raise RecordError(
            f"{what} was not pushed to {repo}, which already holds {', '.join(sorted(there)[:3])}; give "
            "another repository, or delete its files"
        )
