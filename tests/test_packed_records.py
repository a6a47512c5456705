"""The archives of records hold the runs that their studies have, and nothing of the machine that made them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from expo.report.runs import ROOT
from expo.schema import TABLES
from expo.study import load_study

ARCHIVES = sorted((ROOT / "figures" / "records").glob("*.tar.xz"))


def faults(archive: Path) -> list[str]:
    """What is wrong with an archive: strange members, runs that are missing or too many, paths of a machine."""
    study = archive.name.removesuffix(".tar.xz")
    allowed = {"recipe.yaml", "environment.json", *(f"{table}.parquet" for table in TABLES)}
    found, runs = [], set()
    with tarfile.open(archive) as packed:
        for member in packed:
            path = PurePosixPath(member.name)
            if not (member.isfile() and len(path.parts) == 3 and path.parts[0] == study and path.name in allowed):
                found.append(f"strange: {member.name}")
                continue
            runs.add(path.parts[1])
            if path.suffix != ".parquet":
                content = packed.extractfile(member)
                assert content is not None
                text = content.read().decode()
                found += [f"a path of a machine: {member.name}"] * any(root in text for root in ('"/', " /", "'/"))
    found += [f"missing: {run}" for run in sorted(set(load_study(study).runs) - runs)]
    return found + [f"no run of the study: {run}" for run in sorted(runs - set(load_study(study).runs))]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_an_archive_holds_its_studys_records_alone(archive: Path) -> None:
    assert faults(archive) == []


def test_what_does_not_belong_into_an_archive_is_found(tmp_path: Path) -> None:
    members = {
        "theory/../evil": b"",
        "theory/none/weights.bin": b"",
        "theory/none/environment.json": json.dumps({"task": "/home/me/mine.jsonl"}).encode(),
    }
    archive = tmp_path / "theory.tar.xz"
    with tarfile.open(archive, "w:xz") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    assert faults(archive) == [
        "strange: theory/../evil",
        "strange: theory/none/weights.bin",
        "a path of a machine: theory/none/environment.json",
        "no run of the study: none",
    ]
