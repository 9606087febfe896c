"""Stage 3: pack a corpus into shards that read fast from any disk, keep every sample and never change again."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audiokd.data import shar
from audiokd.data.inputs import open_input
from audiokd.data.item_inputs import holds_items
from audiokd.data.pool import pool_map
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.files import jsonl, write_bytes, write_json
from audiokd.objects import here_only
from audiokd.progress import progress


def shard(
    data_dir: str,
    shard_dir: str,
    shard_size: int = 1000,
    max_error_rate: float = 0.01,
    allow_pipes: bool = False,
    sample_rate: int | None = None,
    nj: int = 1,
) -> dict:
    """Write a corpus as lhotse Shar shards with counts and sha256. Run it again after a stop: it goes on.

    The same input gives the same bytes, whatever nj is and however often it was killed. Audio that cannot be read goes
    to SHARD_DIR/cuts.info/errors.jsonl and counts against max_error_rate; what is on the quarantine list is left out.

    Args:
        data_dir: Kaldi data dir, lhotse cuts or Shar folder, webdataset tars, folder of audio, or an audio file.
        shard_dir: folder to write to: cuts.000000.jsonl.gz, recording.000000.tar, ..., cuts.info/shards.json last.
        shard_size: utterances a shard (a Shar folder keeps the shards it has, and a tar is one).
        max_error_rate: share of utterances with bad audio from which the stage fails.
        allow_pipes: run wav.scp entries that end in `|` as shell commands.
        sample_rate: resample what was recorded at another rate to this one, in Hz, and keep it in 16 bits (beyond full scale it is
            clipped), so that training neither reads more than it hears nor resamples in every epoch. None: every sample is kept.
        nj: processes; each writes whole shards.

    Returns:
        What cuts.info/shards.json holds; of a folder of pictures nothing: they are not packed, and it is the INPUT of later stages
        itself.

    Raises:
        AudiokdError: too much audio is bad, sample_rate is below 1, or shard_dir holds shards of another input, shard_size or
            sample_rate.
    """
    if holds_items(data_dir):
        print(f"{data_dir}: pictures are not packed into shards; give this folder itself to the later stages")
        return {}
    here_only(shard_dir, "a folder of shards")
    if sample_rate is not None and sample_rate < 1:
        raise AudiokdError(f"--sample_rate {sample_rate}", fix="give a rate in Hz, such as 16000")
    source, root = open_input(data_dir, shard_size, allow_pipes), Path(shard_dir)
    parts = [part.load() for part in source.shards]
    _check_ids(parts, data_dir)
    with _alone(root):
        return _shard(root, parts, source.kind, shard_size, sample_rate, max_error_rate, nj)


def _shard(
    root: Path,
    parts: list[list[Utterance]],
    kind: str,
    shard_size: int,
    sample_rate: int | None,
    max_error_rate: float,
    nj: int,
) -> dict[str, Any]:
    input_state = _claim(root, parts, kind, shard_size, sample_rate)
    states = [shar.finished(root, i, part) for i, part in enumerate(parts)]
    todo = [(root, i, parts[i], sample_rate) for i, state in enumerate(states) if state is None]
    summary = root / shar.INFO / "shards.json"
    if not todo and summary.exists() and _errors(states) <= max_error_rate * sum(map(len, parts)):
        return json.loads(summary.read_bytes())
    if todo:
        summary.unlink(missing_ok=True)  # from here on the folder counts as unfinished

    total = sum(map(len, parts))
    with progress(f"shard {root.name}", total, "utterances") as bar:
        bar.update(total - sum(len(part) for _, _, part, _ in todo))
        if nj <= 1:
            written: Iterator[dict[str, Any]] = (shar.write_shard(*t, on_item=lambda _: bar.advance()) for t in todo)
        else:
            written = pool_map(_write, todo, nj)
        for (_, number, part, _), state in zip(todo, written):
            states[number] = state
            bar.advance(len(part) if nj > 1 else 0, f"{_errors(states)} bad")
            for error in state["errors"]:
                print(f"left out: {error['where']}: {error['what']}", file=sys.stderr, flush=True)
            if _errors(states) > max_error_rate * total:
                break
    bad = [e for state in states if state for e in state["errors"]]
    errors = root / shar.INFO / "errors.jsonl"
    if bad:
        write_bytes(errors, jsonl(bad))
    else:
        errors.unlink(missing_ok=True)
    if len(bad) > max_error_rate * total:
        shown = "\n".join(f"  {e['where']}: {e['what']}" for e in bad[:10])
        what = f"{len(bad)} of {total} utterances have bad audio, more than --max_error_rate {max_error_rate}:\n{shown}"
        fix = (
            f"mend them ({errors} has them all) or raise --max_error_rate, and run it again; or let 'audiokd validate' "
        )
        fix += f"put them on the quarantine list, then remove {root}"
        raise AudiokdError(what, where=str(root), fix=fix)
    return shar.finish(root, [state for state in states if state], input_state)


def _write(task: tuple[Path, int, list[Utterance], int | None]) -> dict[str, Any]:
    return shar.write_shard(*task)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold shard_dir's lock, which the kernel gives back when the process ends, however it ends."""
    new = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            fix = "wait for it, or end it: running it again goes on where it was"
            raise AudiokdError("another 'audiokd shard' is writing there", where=str(root), fix=fix) from e
        except OSError:  # a network disk that has no locks
            pass
        yield
    finally:
        os.close(folder)
        if new and not any(root.iterdir()):
            root.rmdir()


def _errors(states: list[dict[str, Any] | None]) -> int:
    return sum(len(state["errors"]) for state in states if state)


def _check_ids(parts: list[list[Utterance]], data_dir: str) -> None:
    seen: dict[str, str] = {}
    for part in parts:
        for utt in part:
            if utt.id in seen:
                what = f"two utterances have the id {utt.id}: {seen[utt.id]} and {utt.where}"
                raise AudiokdError(what, where=data_dir, fix="make the ids unique")
            seen[utt.id] = utt.where


def _claim(
    root: Path, parts: list[list[Utterance]], kind: str, shard_size: int, sample_rate: int | None
) -> dict[str, Any]:
    """Write down what the shards are made from, or hold it against what is written there; clear away half files."""
    mine = {
        "input": shar.fingerprint([utt for part in parts for utt in part]),
        "input_utterances": sum(map(len, parts)),
        "shard_size": None if kind in ("shar", "webdataset") else shard_size,
        "num_shards": len(parts),
        **({} if sample_rate is None else {"sample_rate": sample_rate}),
    }
    path = root / shar.INFO / "input.json"
    other = f"give another --shard_dir, or if nothing needs this one: rm -r {root}"
    if path.exists():
        theirs = json.loads(path.read_bytes())
        keys = [key for key in {**mine, **theirs} if theirs.get(key) != mine.get(key)]
        differ = [f"{key} {theirs.get(key)} there, {mine.get(key)} now" for key in keys]
        if differ:
            raise AudiokdError(f"holds shards of another input: {'; '.join(differ)}", where=str(root), fix=other)
    elif root.exists() and any(root.iterdir()) and not _only_info(root):
        raise AudiokdError("the folder is not empty, and what is in it is not ours", where=str(root), fix=other)
    else:
        write_json(path, mine)
    for folder in (root, root / shar.INFO):
        for half in folder.glob(".*.tmp*"):  # of a run that was killed
            half.unlink(missing_ok=True)
    return mine


def _only_info(root: Path) -> bool:
    """Killed before input.json was there."""
    return [p.name for p in root.iterdir()] == [shar.INFO] and all(
        p.name[0] == "." for p in (root / shar.INFO).iterdir()
    )
