"""Pushing to the hub: to a new repository, which is private, or an empty one; nothing that is there is replaced."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import httpx2  # what huggingface_hub speaks through, and lets through when there is no network
from huggingface_hub import CommitOperationAdd, HfApi

from expo.records import RecordError


def upload(files: Mapping[str, Path | bytes], repo: str, kind: str, what: str) -> None:
    """Push files, by their paths in the repository, to a repository of a kind (`dataset` or `model`).

    Raises:
        ConnectionError: if the hub is not reached or refuses; `what` says what was not pushed.
        RecordError: if the repository holds files already; they stay as they are.
    """
    api = HfApi()
    try:
        api.create_repo(repo, repo_type=kind, private=True, exist_ok=True)
        there = set(api.list_repo_files(repo, repo_type=kind)) - {".gitattributes"}
        if not there:
            operations = [CommitOperationAdd(name, content) for name, content in files.items()]
            with warnings.catch_warnings():
                # A record's tables beside its policy are intended.
                warnings.filterwarnings("ignore", ".*commit a data file", UserWarning)
                api.create_commit(repo, operations, commit_message="By expo", repo_type=kind)
    except (OSError, ValueError, httpx2.HTTPError) as error:
        raise ConnectionError(f"{what} is not pushed to {repo}: {error}; fix that and give the same command") from error
    if there:
        raise RecordError(
            f"{what} is not pushed to {repo}, which holds {', '.join(sorted(there)[:3])} already; name another "
            "repository, or delete what is there"
        )
