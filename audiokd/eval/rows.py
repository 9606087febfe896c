"""A row an utterance: its metrics, and what an ASR read; a killed run goes on where it was.

Waveforms (mel, stft, si_sdr) are compared at the lower of the two sample rates (a band that one side cannot have says
nothing) or at the rate that is asked for; what models judge (stoi, pesq, mos, the ASR) at 16 kHz. A file starts where its
original starts; the longer of the two is cut at its end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiokd.errors import AudiokdError
from audiokd.files import jsonl, leads_out
from audiokd.progress import progress

if TYPE_CHECKING:
    import numpy as np

    from audiokd.data.utterance import Utterance
    from audiokd.eval.asr import AsrScorer

ASR_RATE = 16_000
BLOCK = 16  # utterances between two visits of the ASR
MISSING = "no such file"


@dataclass(frozen=True)
class Task:
    """One utterance to score, as a worker process gets it.

    Attributes:
        utt: the original.
        path: file with the rebuilt audio, as `rebuilt_file` gives it.
        metrics: names in the registry.
        device: torch device of the networks.
        sample_rate: Hz at which waveforms are compared; 0 is the lower of the two files'.
        one_thread: keep torch to one thread, where the processes share the cores.
    """

    utt: Utterance
    path: Path | None
    metrics: tuple[str, ...]
    device: str
    sample_rate: int
    one_thread: bool


def score_rows(tasks: list[Task], out: Path, settings: dict, asr: AsrScorer | None, nj: int) -> list[dict[str, Any]]:
    """Score utterances; rows that a killed run with the same settings left are kept where their file is the same.

    Args:
        tasks: the utterances.
        out: file of the whole score; rows are kept beside it (`part_file`), which the caller removes when `out` is written.
        settings: what the rows depend on; `error_rate_against` is "text" or "asr".
        asr: reads the audio for error rates; None leaves them out.
        nj: processes for the metrics (the ASR runs in this one).

    Returns:
        A row a task, in their order: id, the metrics by name, sample_rate in Hz, duration_s and hyp_duration_s in seconds,
        and with an ASR text, asr, word_errors, words, character_errors, characters; or id and `error`.
    """
    from audiokd.data.pool import pool_map

    stamps = {t.utt.id: _stamp(t.path) for t in tasks}
    kept = {i: k for i, k in read_part(part_file(out), settings).items() if k["stamp"] == stamps.get(i, ())}
    rows = {i: k["row"] for i, k in kept.items()}
    left = [t for t in tasks if t.utt.id not in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(part_file(out), "wb") as part, progress("score", len(tasks), "utt") as bar:
        part.write(jsonl([{"settings": settings}, *kept.values()]))
        bar.update(len(kept))
        scored = zip(left, pool_map(_row, left, nj))
        while block := list(islice(scored, BLOCK)):
            if asr is not None:
                _read_each(asr, block, settings["error_rate_against"])
            for task, row in block:
                rows[task.utt.id] = row
                if "error" not in row:
                    part.write(jsonl([{"stamp": stamps[task.utt.id], "row": row}]))
                bar.advance()
            part.flush()
    return [rows[t.utt.id] for t in tasks]


def rebuilt_file(hyp: Path, utt_id: str) -> Path | None:
    """Where the rebuilt audio of `utt_id` is looked for; None for an id that leads out of the folder."""
    return None if leads_out(utt_id) else hyp / f"{utt_id}.wav"


def part_file(out: Path) -> Path:
    """Where the rows of an unfinished score are kept."""
    return out.with_name(f".{out.name}.part.jsonl")


def read_part(path: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows that a killed run left, by id; none where the settings were others. Its last line may be half a line."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    if not rows or rows[0] != {"settings": settings}:
        return {}
    return {r["row"]["id"]: r for r in rows[1:]}


def _row(task: Task) -> dict[str, Any]:
    """The row of an utterance without error rates, or one with `error`: one bad file never stops a corpus."""
    try:
        return _scored(task)
    except Exception as e:
        return {"id": task.utt.id, "error": _reason(e)}


def _scored(task: Task) -> dict[str, Any]:
    from audiokd.data.audio import info, load_at
    from audiokd.data.utterance import Utterance
    from audiokd.eval.registry import chosen

    if task.one_thread:
        import torch

        torch.set_num_threads(1)
    if task.path is None:
        raise AudiokdError("the utterance id leads out of the folder", where=task.utt.id, fix="rename the utterance")
    if not task.path.is_file():
        raise AudiokdError(MISSING, where=str(task.path), fix="decode it")
    rebuilt = Utterance(task.utt.id, str(task.path))
    original, own = info(task.utt), info(rebuilt)
    compare_at = task.sample_rate or min(original.sample_rate, own.sample_rate)
    audio: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    row: dict[str, Any] = {"id": task.utt.id}
    for metric in chosen(list(task.metrics)):
        rate = metric.sample_rate or compare_at
        if rate not in audio:
            audio[rate] = load_at(task.utt, rate), load_at(rebuilt, rate)
        row[metric.name] = metric.load(task.device)(*audio[rate], rate)
    row["sample_rate"] = compare_at
    row["duration_s"] = round(original.num_samples / original.sample_rate, 6)
    row["hyp_duration_s"] = round(own.num_samples / own.sample_rate, 6)
    return row


def _read_each(asr: AsrScorer, block: list[tuple[Task, dict[str, Any]]], against: str) -> None:
    """`_read`, and where that fails one by one, so that only the bad one is lost."""
    try:
        _read(asr, block, against)
    except Exception:
        for task, row in block:
            try:
                _read(asr, [(task, row)], against)
            except Exception as e:
                row.clear()
                row |= {"id": task.utt.id, "error": f"the ASR failed: {_reason(e)}"}


def _read(asr: AsrScorer, block: list[tuple[Task, dict[str, Any]]], against: str) -> None:
    """Have the ASR read what the rows of `block` need, and put texts and error counts into them."""
    from audiokd.data.audio import load_at
    from audiokd.data.utterance import Utterance
    from audiokd.eval.asr import character_errors, word_errors

    block = [(t, r) for t, r in block if "error" not in r and (against == "asr" or t.utt.text)]
    wavs = [load_at(Utterance(t.utt.id, str(t.path)), ASR_RATE) for t, _ in block]
    if against == "asr":
        wavs += [load_at(t.utt, ASR_RATE) for t, _ in block]
    said = asr.transcribe(wavs)
    references = said[len(block) :] if against == "asr" else [t.utt.text or "" for t, _ in block]
    for (_, row), reference, hypothesis in zip(block, references, said):
        pair = asr.normalise(reference), asr.normalise(hypothesis)
        words, characters = word_errors(*pair), character_errors(*pair)
        row |= {"text": reference, "asr": hypothesis}
        row |= {"word_errors": words.count, "words": words.length}
        row |= {"character_errors": characters.count, "characters": characters.length}


def _reason(e: Exception) -> str:
    return str(e).splitlines()[0] if isinstance(e, AudiokdError) else f"{type(e).__name__}: {e}"


def _stamp(path: Path | None) -> list[int] | None:
    try:
        s = path.stat() if path else None
    except OSError:
        return None
    if s is None:
        return None
    return [s.st_size, s.st_mtime_ns]
