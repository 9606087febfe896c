"""A model over a corpus, shard by shard, into a store: what tokenize and extract share."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from audiokd.data.inputs import InputShard, open_input
from audiokd.data.item_inputs import open_items
from audiokd.errors import AudiokdError, StorageError
from audiokd.launch.launcher import not_here, open_launcher, share
from audiokd.launch.local import Counter
from audiokd.objects import is_url
from audiokd.progress import clock, progress
from audiokd.stages.corpus_worker import Job, Worker, input_sha256
from audiokd.stages.picture_worker import PictureWorker, VideoWorker
from audiokd.tokens.store import TokenStore, open_store, open_writer

_SHOWN = 10  # utterances that failed, named at the end
_COUNTED = 200  # shards whose lists are read beforehand, for the progress


def run_corpus(
    model_dir: str,
    input: str,
    store: str,
    kind: str,
    meta: dict[str, Any],
    *,
    num_codebooks: int | None = None,
    layer: str = "",
    dtype: str = "float32",
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
    media: Literal["audio", "image", "video"] = "audio",
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Write a store of `input` seen through the model in `model_dir`. Finished shards are skipped; see `stages.tokenize`.

    Of pictures and videos it takes a batch of `batch_size`, of sound one of `batch_duration`.
    """
    if nj < 1:
        raise AudiokdError(f"--nj {nj}: at least one process is needed")
    if threads < 0:
        raise AudiokdError(f"--threads {threads}: give 1 or more, or 0 for the default")
    if batch_duration is not None and batch_duration < 0:
        raise AudiokdError(f"--batch_duration {batch_duration:g}: give seconds, or 0 for one utterance at a time")
    if batch_size is not None and batch_size < 1:
        raise AudiokdError(f"--batch_size {batch_size}: give 1 or more")
    where = open_launcher(
        launcher, launcher_options, device, logs=f"{Path(store).name if is_url(store) else store}.log"
    )
    job_of, jobs = share(split)
    pictures = media != "audio"
    source = open_items(input, shard_size) if pictures else open_input(input, shard_size, allow_pipes)
    unit = {"audio": "utterances", "image": "pictures", "video": "videos"}[media]
    shards = source.shards[job_of::jobs]
    device_kind = device.split(":")[0]
    on_cpu = device_kind == "cpu"  # a padded batch leaves the caches of a CPU, and fills a GPU
    batch: dict[str, float] = {
        "batch_duration": (0.0 if on_cpu else 120.0) if batch_duration is None else batch_duration
    }
    if pictures:
        batch = {"batch_size": batch_size or (1 if on_cpu else 64)}
    threads = threads or where.default_threads(nj)
    plan = {**batch, "device": device_kind, "threads": threads, "packages": _versions(media)}
    job = Job(model_dir, store, kind, meta, plan, num_codebooks, layer, dtype)
    writer = open_writer(store, kind, meta)
    names = [s.name for s in source.shards]
    writer.refuse_others(names)
    tasks = [s for s in shards if not writer.done(s.name, _fingerprint(s))]
    skipped = len(shards) - len(tasks)
    if skipped:
        print(f"{store}: {skipped} of {len(shards)} shards are done already")
    if changed := [s for s in tasks if writer.done(s.name)]:
        _refuse_other_input(store, changed[0].name, source.shards)
        print(f"{store}: {len(changed)} of {len(shards)} shards are made anew, their input is not what it was")

    with progress(kind, _utterances_of(tasks), unit) as bar:
        ended, utterances, audio_s, spent_s, waited_s = 0, 0, 0.0, 0.0, 0.0  # shards, and what was in them
        unread: dict[str, str] = {}
        workers = min(nj, max(1, len(tasks)))
        start = time.monotonic()

        def show() -> None:
            n, heard_s = counter.value()
            rate = heard_s / max(time.monotonic() - start, 1e-9)
            note = "" if pictures else f"{heard_s / 3600:.2f} h of audio, {rate:,.0f} s a second, "
            note += f"{waited_s / spent_s:.1%} of the time waiting for data, " if spent_s else ""
            note = note.removesuffix(", ")
            if bar.total is None and ended:  # nobody has counted the utterances: by shards, then
                left = (time.monotonic() - start) * (len(tasks) - ended) / ended
                note += f", {ended:,} of {len(tasks):,} shards, {clock(left)} left"
            bar.update(n, note if n else "")

        counter = Counter(show, shared=launcher == "local" and workers > 1)
        # closed at once on Ctrl-C: a generator that is only collected lets the pool work off its queue first
        cls = {"audio": Worker, "image": PictureWorker, "video": VideoWorker}[media]
        run = where.run(
            cls, (job, device, counter), tasks, workers, threads, show, lambda: counter.reset(utterances, audio_s)
        )
        with closing(run) as finished:
            for done in finished:
                ended, utterances, audio_s = ended + 1, utterances + done.utterances, audio_s + done.audio_s
                spent_s, waited_s = spent_s + done.spent_s, waited_s + done.waited_s
                if launcher != "local":  # its workers cannot be heard while they work
                    counter.add(done.utterances, done.audio_s)
                if done.error:
                    unread[done.name] = done.error
                show()
    writer.look_again()
    if lost := [s.name for s in tasks if not writer.done(s.name) and s.name not in unread]:
        raise not_here(store, lost)
    if unread:
        said = {name: "; ".join(map(str.strip, error.splitlines())) for name, error in sorted(unread.items())}
        why = "\n".join(f"  {name}: {error}" for name, error in said.items())
        raise AudiokdError(
            f"{len(unread)} of {len(shards)} shards cannot be read and are missing\n{why}",
            where=store,
            fix="mend them and run the same command again: the others are written",
        )
    if jobs > 1 and (left := [n for n in names if not writer.done(n)]):
        print(f"{store}: split {split} is done, {len(left)} shards of others are not yet")
        totals = writer.totals([s.name for s in shards])
        writer.close()
        return outcome(store, totals, max_error_rate, unit)
    writer.finish(names)
    totals = writer.totals(names)
    writer.close()
    return outcome(store, totals, max_error_rate, unit)


def _refuse_other_input(store: str, changed: str, shards: list[InputShard]) -> None:
    """A corpus that has changed is made anew, shard by shard; another one under the name of the store is not.

    Raises:
        AudiokdError: no utterance of the store's shard `changed` is in the input's `shards`.
    """
    held = {row["id"] for row in open_store(store).rows(changed)}
    for shard in sorted(shards, key=lambda s: s.name != changed):  # most often it is the shard of that name
        with suppress(AudiokdError):  # one that cannot be read is its worker's to tell
            if any(u.id in held for u in shard.load()):
                return
    if held:
        what = f"the store is of another input: no utterance of its shard {changed} is in this one ({min(held)}, ...)"
        raise AudiokdError(what, where=store, fix="give a new folder, or delete this store to make it anew")


def _fingerprint(shard: InputShard) -> str:
    """`input_sha256`, or "" of a shard that cannot be read: its worker will say so."""
    try:
        return input_sha256(shard)
    except StorageError:
        raise
    except AudiokdError:
        return ""


def _utterances_of(shards: list[InputShard]) -> int | None:
    """How many there are, without those of shards that cannot be read; None where that takes fetching or long reading to know."""
    uncounted = [s for s in shards if s.known_size is None]
    if len(uncounted) > _COUNTED or not all(s.is_here for s in uncounted):
        return None
    for shard in uncounted:
        with suppress(AudiokdError):
            shard.load()
    return sum(s.known_size or 0 for s in shards)


def model_hashes(model: Any) -> dict[str, str]:
    """`model_sha256` over every tensor by name, and `config_sha256`: the same for a folder and a hub id."""
    from audiokd.nn.weights import weights_sha256

    config = {k: v for k, v in model.config.to_dict().items() if k not in ("transformers_version", "_name_or_path")}
    text = json.dumps(config, sort_keys=True, default=str)
    return {"model_sha256": weights_sha256(model), "config_sha256": hashlib.sha256(text.encode()).hexdigest()}


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


#: packages that an input is read by
_READERS = {"audio": ("soundfile", "torchaudio"), "image": ("pillow", "timm", "torchvision"), "video": ("av",)}


def _versions(media: str) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in sorted(("audiokd", "torch", *_READERS[media]))}


def _failed(store: str) -> Iterator[dict[str, Any]]:
    written = open_store(store)
    return (row for shard in written.shards for row in written.errors(shard))


def outcome(store: str, complete: dict[str, Any], max_error_rate: float, unit: str = "utterances") -> dict[str, Any]:
    """Print what was written and the first utterances (or whatever the `unit` is) that failed, and give it back.

    Raises:
        AudiokdError: more utterances failed than `max_error_rate` allows.
    """
    good, bad = complete["utterances"], complete["errors"]
    print(f"{store}: {good} {unit}, {complete['frames']} frames, {bad} errors")
    shown = list(islice(_failed(store), _SHOWN)) if bad and not is_url(store) else []
    for row in shown:
        print(f"  failed: {row['id']}: {row['error']}")
    if bad > len(shown):
        print(f"  ... and {bad - len(shown)} more: `audiokd store ls {store}` and errors.jsonl of its shards")
    if bad > max_error_rate * (good + bad):
        raise AudiokdError(
            f"{bad} of {good + bad} {unit} failed, more than --max_error_rate {max_error_rate:g}",
            where=store,
            fix=f"`audiokd store ls {store}` lists what is in errors.jsonl of its shards; the rest is written and whole",
        )
    return complete
