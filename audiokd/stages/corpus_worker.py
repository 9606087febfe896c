"""One process's share of a corpus: reads ahead, runs the model on batches of like length, writes shards."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from audiokd.data.ahead import ReadAhead
from audiokd.data.audio import info, load_at
from audiokd.data.blocks import load_blocks
from audiokd.data.inputs import InputShard
from audiokd.data.items import Item
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError, AudiokdError, StorageError
from audiokd.launch.local import Counter, own_device
from audiokd.tokens.layout import BFLOAT16
from audiokd.tokens.spill import Spill
from audiokd.tokens.store import StoreItem, open_writer

if TYPE_CHECKING:
    import torch

#: batches that are read while the model is at one
AHEAD = 4


@dataclass(frozen=True)
class Job:
    """What every worker needs to know; picklable.

    Attributes:
        model_dir: folder or hub id.
        store: folder to write.
        kind: "codes" or "features".
        meta: of the store.
        plan: batch_duration (of pictures batch_size), device, threads, package versions; written in every shard.json.
        num_codebooks: streams to encode, None for all.
        layer: which features.
        dtype: of features.
    """

    model_dir: str
    store: str
    kind: str
    meta: dict[str, Any]
    plan: dict[str, Any]
    num_codebooks: int | None = None
    layer: str = ""
    dtype: str = "float32"


class ShardDone(NamedTuple):
    """What a shard had and took: utterances, good and bad; seconds of audio written, seconds of work, and of these those that the
    model waited for data; or why there is none: its files cannot be read."""

    utterances: int = 0
    audio_s: float = 0.0
    spent_s: float = 0.0
    waited_s: float = 0.0
    name: str = ""
    error: str = ""


class Timed(NamedTuple):
    """An utterance and how long it is; None where that is not known yet."""

    utt: Utterance
    seconds: float | None


class Read(NamedTuple):
    """What a reader's thread gives: waveforms [T], None for one that goes through in pieces; rows of what could not be read."""

    wavs: list[tuple[Utterance, np.ndarray | None]]
    errors: dict[str, dict[str, str]]


class Worker:
    """One process's model and writer; called with an InputShard."""

    def __init__(self, job: Job, device: str, counter: Counter):
        from audiokd.hub.auto import load_for_inference

        self.job, self.device, self.counter = job, own_device(device), counter
        self.model = load_for_inference(job.model_dir, self.device)
        if job.num_codebooks is not None:
            self.model.set_num_codebooks(job.num_codebooks)
        self.writer = open_writer(job.store, job.kind, job.meta)
        self.readers = 1  # threads
        self._set_up()

    def _set_up(self) -> None:
        from audiokd.nn.windows import window_of

        self.sample_rate: int = self.model.sample_rate
        if self.job.kind == "features":
            self.longest = window_of(self.model)[0]
        else:
            self.longest = self.model.piece_s if hasattr(self.model, "encode_long") else float("inf")

    def __call__(self, shard: InputShard) -> ShardDone:
        start = time.perf_counter()
        try:
            utterances = shard.load()
        except StorageError:
            raise
        except AudiokdError as e:  # a tar that is cut short; the other shards are whole
            return ShardDone(name=shard.name, error=str(e))
        errors: dict[str, dict[str, str]] = {}
        samples: dict[str, int] = {}
        batches = ReadAhead(self._read, self._batches(utterances, errors), self.readers, AHEAD + self.readers - 1)
        waited_s = time.perf_counter() - start
        with Spill(self.writer.path) as spill:
            for wavs, unreadable in batches:
                errors |= unreadable
                written = 0
                for utt, n in self._frames(wavs, spill):
                    if isinstance(n, AudiokdError):
                        errors[utt.id] = error_row(utt, n)
                    else:
                        samples[utt.id] = n
                        written += n
                self.counter.add(len(wavs) + len(unreadable), written / self.sample_rate)
            self.writer.write_shard(
                shard.name,
                [self._item(u, samples[u.id], spill) for u in utterances if u.id in samples],
                [errors[u.id] for u in utterances if u.id in errors],
                self.job.plan,
                input_sha256(shard, utterances),
            )
        shard.release()
        audio_s = sum(samples.values()) / self.sample_rate
        return ShardDone(len(utterances), audio_s, time.perf_counter() - start, waited_s + batches.waited_s)

    def _item(self, utt: Utterance, num_samples: int, spill: Spill) -> StoreItem:
        array = spill.array(utt.id)
        array = array.T if self.job.kind == "codes" else array
        return StoreItem(utt.id, array, num_samples, self.sample_rate, text=utt.text, speaker=utt.speaker)

    def _batches(self, utterances: list[Utterance], errors: dict[str, dict[str, str]]) -> list[list[Timed]]:
        budget = self.job.plan["batch_duration"]
        if not budget:
            return [[Timed(u, known_seconds(u))] for u in utterances]
        timed = []
        for utt in utterances:
            try:
                seconds = known_seconds(utt)
                timed.append(Timed(utt, measured_seconds(utt) if seconds is None else seconds))
            except AudioError as e:
                errors[utt.id] = error_row(utt, e)
        return plan_batches(timed, budget, self.longest)

    def _read(self, batch: list[Timed]) -> Read:
        """In a reader's thread."""
        wavs: list[tuple[Utterance, np.ndarray | None]] = []
        errors = {}
        for utt, seconds in batch:
            try:
                if (measured_seconds(utt) if seconds is None else seconds) > self.longest:
                    wavs.append((utt, None))
                    continue
                wav = load_at(utt, self.model.sample_rate)
                self._check_length(utt, len(wav))
                wavs.append((utt, wav))
            except AudioError as e:
                errors[utt.id] = error_row(utt, e)
        return Read(wavs, errors)

    def _check_length(self, utt: Utterance, samples: int) -> None:
        """That the model takes a clip of so many samples."""
        rate, needed = self.model.sample_rate, getattr(self.model, "min_samples", 1)
        longest = getattr(self.model, "max_duration_s", None)
        if samples < needed:
            raise AudioError(f"{samples} samples at {rate} Hz, the model needs {needed}", where=utt.where)
        if longest is not None and samples > longest * rate:
            raise AudioError(f"{samples / rate:.1f} s, the model takes {longest:g} s", where=utt.where)

    def _frames(
        self, wavs: list[tuple[Utterance, np.ndarray | None]], spill: Spill
    ) -> Iterator[tuple[Utterance, int | AudiokdError]]:
        """Put the frames of each utterance into `spill`; gives its samples, or why there are none."""
        whole = [(u, w) for u, w in wavs if w is not None]
        try:
            found = self._together(whole)
        except AudiokdError as e:
            if len(wavs) == 1:
                yield wavs[0][0], e
                return
            for one in wavs:  # which of them it is
                yield from self._frames([one], spill)
            return
        for (utt, wav), array in zip(whole, found):
            try:
                n = self._samples(wav)
                spill.add(utt.id, [self.writer.check_item(StoreItem(utt.id, array, n, self.sample_rate))])
                yield utt, n
            except StorageError:
                raise
            except AudiokdError as e:
                yield utt, e
        for utt in (u for u, w in wavs if w is None):
            try:
                with _blamed([utt]):
                    n = self._in_pieces(utt, spill)
                yield utt, n
            except StorageError:
                raise
            except AudiokdError as e:
                yield utt, e

    def _together(self, wavs: list[tuple[Utterance, np.ndarray]]) -> list[np.ndarray]:
        """Codes [Q, T'] or features [T', D] of each."""
        import torch

        if not wavs:
            return []
        with torch.inference_mode(), _blamed([u for u, _ in wavs]):
            return self._run([w for _, w in wavs])

    def _run(self, wavs: list[np.ndarray]) -> list[np.ndarray]:
        import torch

        lengths = torch.tensor([len(w) for w in wavs])
        batch = torch.zeros(len(wavs), int(lengths.max()))
        for row, w in zip(batch, wavs):
            row[: len(w)] = torch.from_numpy(w)
        batch, lengths = batch.to(self.device), lengths.to(self.device)
        if self.job.kind == "codes":
            codes = self.model.encode(batch, lengths)
            return [c[:, : int(n)].cpu().numpy() for c, n in zip(codes.codes, codes.lengths)]
        features, n_frames = self.model.extract(batch, lengths, self.job.layer)
        return [self._numpy(f[: int(n)]) for f, n in zip(features, n_frames)]

    def _samples(self, wav: np.ndarray) -> int:
        return len(wav)

    def _in_pieces(self, utt: Utterance, spill: Spill) -> int:
        """One long recording, of which a piece is in memory; gives its samples."""
        import torch

        from audiokd.nn.windows import long_features

        rate = self.model.sample_rate
        if self.job.kind == "codes":
            codes = self.model.encode_long(utt)
            n = int(codes.num_samples)
            spill.add(utt.id, [self.writer.check_item(StoreItem(utt.id, codes.codes[0].cpu().numpy(), n, rate))])
            return n
        n = 0

        def blocks() -> Iterator[torch.Tensor]:
            nonlocal n
            for x in load_blocks(utt, rate):
                n += len(x)
                yield torch.from_numpy(x)

        together = max(1, int(self.job.plan["batch_duration"] / self.longest))
        with torch.inference_mode():
            spill.add(utt.id, map(self._numpy, long_features(self.model, blocks(), self.job.layer, together)))
        self.writer.check_item(self._item(utt, n, spill))
        return n

    def _numpy(self, features: torch.Tensor) -> np.ndarray:
        """Frames [T', D] in the dtype of the store; of bfloat16 the bits."""
        import torch

        x = features.to(getattr(torch, self.job.dtype))
        return x.view(torch.int16).cpu().numpy().view("<u2") if self.job.dtype == BFLOAT16 else x.cpu().numpy()


@contextmanager
def _blamed(utterances: list[Utterance]) -> Iterator[None]:
    """Name the utterances at which a model failed. Where a GPU has no room for them, that is an error of theirs alone; of anything
    else the next utterance would be none the better, and the run ends."""
    import torch

    try:
        yield
    except AudiokdError:
        raise
    except torch.cuda.OutOfMemoryError as e:
        torch.cuda.empty_cache()
        what = f"no memory for it: {str(e).splitlines()[0]}"
        raise AudiokdError(what, where=utterances[0].where, fix="cut it, or take a GPU that has more") from e
    except Exception as e:
        names = ", ".join(u.id for u in utterances[:3]) + (", ..." if len(utterances) > 3 else "")
        raise RuntimeError(
            f"the model failed at {names} ({utterances[0].where or utterances[0].path}): {type(e).__name__}: {e}"
        ) from e


def known_seconds(utt: Utterance) -> float | None:
    """How long an utterance is, where that is known without opening it."""
    return utt.duration_s if utt.end_s is None else utt.end_s - utt.start_s


def measured_seconds(utt: Utterance) -> float:
    """How long an utterance is, by its file's header."""
    i = info(utt)
    return i.num_samples / i.sample_rate


def plan_batches(timed: list[Timed], budget_s: float, longest_s: float = float("inf")) -> list[list[Timed]]:
    """Batches of utterances sorted by length, each at most `budget_s` seconds with its padding: a pure function of the shard.

    Those of more than `longest_s` go through in pieces, each by itself.
    """
    batches: list[list[Timed]] = []
    longest = 0.0
    for t in sorted(timed, key=lambda t: (-(t.seconds or 0.0), t.utt.id)):
        seconds = t.seconds or 0.0
        if not batches or longest > longest_s or (len(batches[-1]) + 1) * longest > budget_s:
            batches.append([])
            longest = seconds  # the first of a batch is its longest
        batches[-1].append(t)
    return batches


def input_sha256(shard: InputShard, utterances: list[Utterance] | None = None) -> str:
    """What a finished shard was made from: the shard's own sha256, else ids, stretches and file sizes of its `utterances`."""
    if shard.sha256:
        return shard.sha256
    rows = []
    for u in shard.load() if utterances is None else utterances:
        size = os.path.getsize(u.path) if u.codec != "pipe" and os.path.exists(u.path) else -1
        rows.append(f"{u.id}\t{u.start_s!r}\t{u.end_s!r}\t{u.channel}\t{size}")
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def error_row(utt: Utterance | Item, e: AudiokdError) -> dict[str, str]:
    """A row of errors.jsonl."""
    return {"id": utt.id, "where": utt.where, "error": e.what}
