"""A model over a corpus, shard by shard, into a store: what tokenize and extract share."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiokd.data.audio import info, load_at
from audiokd.data.inputs import InputShard, open_input
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError, AudiokdError
from audiokd.launch.launcher import not_here, open_launcher, share
from audiokd.launch.local import Counter
from audiokd.progress import progress
from audiokd.tokens.store import StoreItem, StoreWriter, TokenStore
from audiokd.tokens.writer import completion

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Job:
    """What every worker needs to know; picklable.

    Attributes:
        model_dir: folder or hub id.
        store: folder to write.
        kind: "codes" or "features".
        meta: of the store.
        plan: batch_duration, device, threads, package versions; written in every shard.json.
        num_codebooks: streams to encode, None for all.
        layer: which features.
    """

    model_dir: str
    store: str
    kind: str
    meta: dict[str, Any]
    plan: dict[str, Any]
    num_codebooks: int | None = None
    layer: str = ""


def run_corpus(
    model_dir: str,
    input: str,
    store: str,
    kind: str,
    meta: dict[str, Any],
    *,
    num_codebooks: int | None = None,
    layer: str = "",
    shard_size: int,
    batch_duration: float | None,
    device: str,
    nj: int,
    threads: int,
    max_error_rate: float,
    allow_pipes: bool,
    launcher: str = "local",
    launcher_options: str = "",
    split: str = "",
) -> dict[str, Any]:
    """Write a store of `input` seen through the model in `model_dir`. Finished shards are skipped; see `stages.tokenize`."""
    if nj < 1:
        raise AudiokdError(f"--nj {nj}: at least one process is needed")
    where = open_launcher(launcher, launcher_options, device, logs=f"{store}.log")
    job_of, jobs = share(split)
    source = open_input(input, shard_size=shard_size, allow_pipes=allow_pipes)
    shards = source.shards[job_of::jobs]
    device_kind = device.split(":")[0]
    if batch_duration is None:  # a padded batch leaves the caches of a CPU, and fills a GPU
        batch_duration = 0.0 if device_kind == "cpu" else 120.0
    threads = threads or where.default_threads(nj)
    plan = {"batch_duration": batch_duration, "device": device_kind, "threads": threads, "packages": _versions()}
    job = Job(model_dir, store, kind, meta, plan, num_codebooks, layer)
    writer = StoreWriter(store, kind, meta)
    tasks = [s for s in shards if not writer.done(s.name, input_sha256(s))]
    skipped = len(shards) - len(tasks)
    if skipped:
        print(f"{store}: {skipped} of {len(shards)} shards are done already")

    with progress(kind, sum(len(s) for s in tasks), "utterances") as bar:
        audio_s = 0.0
        workers = min(nj, max(1, len(tasks)))

        def show() -> None:
            bar.update(counter.value, f"{audio_s / 3600:.2f} h of audio written")

        def count(shard: InputShard) -> None:  # of workers that share no memory with this process
            counter.add(len(shard))

        counter = Counter(show, shared=launcher == "local" and workers > 1)
        # closed at once on Ctrl-C: a generator that is only collected lets the pool work off its queue first
        run = where.run(Worker, (job, device, counter), tasks, workers, threads, show, count)
        with closing(run) as finished:
            for seconds in finished:
                audio_s += seconds
                show()
    if lost := [s.name for s in tasks if not writer.done(s.name)]:
        raise not_here(store, lost)
    names = [s.name for s in source.shards]
    if jobs > 1 and (left := [n for n in names if not writer.done(n)]):
        print(f"{store}: split {split} is done, {len(left)} shards of others are not yet")
        return _outcome(store, completion(Path(store), [s.name for s in shards]), max_error_rate)
    writer.finish(names)
    return _outcome(store, json.loads((Path(store) / "complete.json").read_text()), max_error_rate)


class Worker:
    """One process's model and writer; called with an InputShard, gives the seconds of audio done."""

    def __init__(self, job: Job, device: str, counter: Counter):
        from audiokd.hub.auto import load_for_inference

        self.job, self.device, self.counter = job, device, counter
        self.model = load_for_inference(job.model_dir, device)
        if job.num_codebooks is not None:
            self.model.set_num_codebooks(job.num_codebooks)
        self.writer = StoreWriter(job.store, job.kind, job.meta)

    def __call__(self, shard: InputShard) -> float:
        utterances = shard.load()
        errors: dict[str, dict[str, str]] = {}
        items: dict[str, StoreItem] = {}
        seconds = 0.0
        for batch in self._batches(utterances, errors):
            wavs = self._read(batch, errors)
            self.counter.add(len(batch))
            for utt, wav, array in self._forward(wavs):
                rate = self.model.sample_rate
                item = StoreItem(utt.id, array, len(wav), rate, text=utt.text, speaker=utt.speaker)
                try:
                    self.writer.check_item(item)
                except AudiokdError as e:
                    errors[utt.id] = _error(utt, e)
                    continue
                items[utt.id] = item
                seconds += len(wav) / rate
        order = [u.id for u in utterances]
        self.writer.write_shard(
            shard.name,
            [items[i] for i in order if i in items],
            [errors[i] for i in order if i in errors],
            self.job.plan,
            input_sha256(shard),
        )
        return seconds

    def _batches(self, utterances: list[Utterance], errors: dict[str, dict[str, str]]) -> list[list[Utterance]]:
        budget = self.job.plan["batch_duration"]
        if not budget:
            return [[u] for u in utterances]
        timed = []
        for utt in utterances:
            try:
                i = info(utt)
                timed.append((i.num_samples / i.sample_rate, utt))
            except AudioError as e:
                errors[utt.id] = _error(utt, e)
        return plan_batches(timed, budget)

    def _read(self, batch: list[Utterance], errors: dict[str, dict[str, str]]) -> list[tuple[Utterance, np.ndarray]]:
        out = []
        for utt in batch:
            try:
                wav = load_at(utt, self.model.sample_rate)
                self._check_length(utt, len(wav))
                out.append((utt, wav))
            except AudioError as e:
                errors[utt.id] = _error(utt, e)
        return out

    def _check_length(self, utt: Utterance, samples: int) -> None:
        """That the model takes a clip of so many samples."""
        rate, needed = self.model.sample_rate, getattr(self.model, "min_samples", 1)
        longest = getattr(self.model, "max_duration_s", None)
        if samples < needed:
            raise AudioError(f"{samples} samples at {rate} Hz, the model needs {needed}", where=utt.where)
        if longest is not None and samples > longest * rate:
            raise AudioError(f"{samples / rate:.1f} s, the model takes {longest:g} s", where=utt.where)

    def _forward(self, wavs: list[tuple[Utterance, np.ndarray]]) -> list[tuple[Utterance, np.ndarray, np.ndarray]]:
        import torch

        if not wavs:
            return []
        lengths = torch.tensor([len(w) for _, w in wavs])
        batch = torch.zeros(len(wavs), int(lengths.max()))
        for row, (_, w) in zip(batch, wavs):
            row[: len(w)] = torch.from_numpy(w)
        batch, lengths = batch.to(self.device), lengths.to(self.device)
        with torch.inference_mode():
            if self.job.kind == "codes":
                codes = self.model.encode(batch, lengths)
                arrays = [c[:, : int(n)] for c, n in zip(codes.codes, codes.lengths)]
            else:
                features, n_frames = self.model.extract(batch, lengths, self.job.layer)
                arrays = [f[: int(n)] for f, n in zip(features, n_frames)]
        return [(u, w, a.cpu().numpy()) for (u, w), a in zip(wavs, arrays)]


def plan_batches(timed: list[tuple[float, Utterance]], budget_s: float) -> list[list[Utterance]]:
    """Batches of utterances sorted by length, each at most `budget_s` seconds with its padding: a pure function of the shard."""
    batches: list[list[Utterance]] = []
    longest = 0.0
    for seconds, utt in sorted(timed, key=lambda t: (-t[0], t[1].id)):
        if not batches or (len(batches[-1]) + 1) * longest > budget_s:
            batches.append([])
            longest = seconds  # the first of a batch is its longest
        batches[-1].append(utt)
    return batches


def input_sha256(shard: InputShard) -> str:
    """What a finished shard was made from: the shard's own sha256, else ids, stretches and file sizes."""
    if shard.sha256:
        return shard.sha256
    rows = []
    for u in shard.load():
        size = os.path.getsize(u.path) if u.codec != "pipe" and os.path.exists(u.path) else -1
        rows.append(f"{u.id}\t{u.start_s!r}\t{u.end_s!r}\t{u.channel}\t{size}")
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def model_hashes(model: Any) -> dict[str, str]:
    """`model_sha256` over every tensor by name, and `config_sha256`: the same for a folder and a hub id."""
    h = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        t = tensor.detach().cpu().contiguous()
        h.update(f"{name} {t.dtype} {list(t.shape)}\n".encode())
        h.update(t.reshape(-1).numpy().tobytes())
    config = {k: v for k, v in model.config.to_dict().items() if k not in ("transformers_version", "_name_or_path")}
    text = json.dumps(config, sort_keys=True, default=str)
    return {"model_sha256": h.hexdigest(), "config_sha256": hashlib.sha256(text.encode()).hexdigest()}


def check_same_model(model: Any, model_dir: str, store: TokenStore) -> None:
    """That `store` was made by `model`.

    Raises:
        AudiokdError: it was made by another (both hashes are named).
    """
    mine, theirs = model_hashes(model)["model_sha256"], store.meta["model_sha256"]
    if mine != theirs:
        raise AudiokdError(
            f"the store was made by model {theirs[:12]}, this one is {mine[:12]}",
            where=f"{store.path}, {model_dir}",
            fix="give the model folder that tokenize was given",
        )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("audiokd", "soundfile", "torch", "torchaudio")}


def _error(utt: Utterance, e: AudiokdError) -> dict[str, str]:
    return {"id": utt.id, "where": utt.where, "error": e.what}


def _outcome(store: str, complete: dict[str, Any], max_error_rate: float) -> dict[str, Any]:
    good, bad = complete["utterances"], complete["errors"]
    print(f"{store}: {good} utterances, {complete['frames']} frames, {bad} errors")
    if bad > max_error_rate * (good + bad):
        raise AudiokdError(
            f"{bad} of {good + bad} utterances failed, more than --max_error_rate {max_error_rate:g}",
            where=store,
            fix="see errors.jsonl in its shards; the rest is written and whole",
        )
    return complete
