"""errors.jsonl of a run: what many processes write at once is whole lines, each utterance once a set."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

from audiokd.data.audio import load
from audiokd.data.error_log import ErrorLog, count_errors
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError


def unreadable(folder: Path, recording: Path, count: int) -> list[tuple[Utterance, AudioError]]:
    """`count` recordings that are cut short, and what reading them says."""
    found = []
    for i in range(count):
        path = folder / f"{i}.wav"
        path.write_bytes(recording.read_bytes()[: 5000 + i])
        utt = Utterance(f"cut-{i}", str(path), where=f"wav.scp:{i + 1}")
        try:
            load(utt)
        except AudioError as e:
            found.append((utt, e))
    assert len(found) == count
    return found


def write(folder: Path, name: str, bad: list[tuple[Utterance, AudioError]], start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    log = ErrorLog(folder, name)
    os._exit(sum(log.add(*b) for b in bad))  # how many were new


def test_many_processes_write_each_utterance_once(beckett: Path, tmp_path: Path) -> None:
    bad = unreadable(tmp_path, beckett, 40)
    start = multiprocessing.Barrier(6)
    workers = [
        multiprocessing.Process(target=write, args=(tmp_path, ("train", "dev")[k % 2], bad[k * 2 :], start))
        for k in range(6)
    ]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    rows = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    seen = sorted((r["set"], r["id"]) for r in rows)
    assert seen == sorted([("train", u.id) for u, _ in bad] + [("dev", u.id) for u, _ in bad[2:]])
    assert sum(w.exitcode or 0 for w in workers) == len(rows)  # to each its row, to one writer alone
    assert count_errors(tmp_path) == {"dev": 38, "train": 40}
    (row,) = [r for r in rows if (r["set"], r["id"]) == ("dev", "cut-7")]
    assert row["where"] == "wav.scp:8"
    assert row["error"].startswith("truncated")


def test_half_a_line_of_a_killed_process_gives_way(beckett: Path, tmp_path: Path) -> None:
    (first, second) = unreadable(tmp_path, beckett, 2)
    log = ErrorLog(tmp_path, "dev")
    assert log.add(*first)
    whole = log.path.read_bytes()
    assert log.add(*second)
    both = log.path.read_bytes()
    log.path.write_bytes(both[: len(whole) + 20])
    assert log.add(*second)
    assert log.path.read_bytes() == both
    assert not log.add(*first)
    assert not log.add(*second)
    assert count_errors(tmp_path / "nowhere") == {}
