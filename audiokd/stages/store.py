"""`audiokd store ...`: look at, check, export, import, merge and compare token stores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from audiokd.data.inputs import Input, open_input
from audiokd.data.item_inputs import holds_items, open_items
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError, StorageError
from audiokd.tokens.compare import diff_stores, merge_stores, render_diff
from audiokd.tokens.stats import render_stats
from audiokd.tokens.store import open_store, verify_store
from audiokd.tokens.verify import missing_of

_SHOWN = 20  # failed utterances listed in full


def ls(store: str) -> None:
    """List the shards of a token store, what made it, and the utterances that failed.

    Args:
        store: folder of the store.

    Raises:
        AudiokdError: there is no store.
    """
    s = open_store(store)
    infos = {shard: s.shard_info(shard) for shard in s.shards}
    hours = sum(i.get("seconds", float("nan")) for i in infos.values()) / 3600
    heard = "" if math.isnan(hours) else f" of {hours:,.2f} h"
    print(f"{store}: {s.kind}, {len(s):,} utterances{heard}, {'complete' if s.complete else 'not complete'}")
    for key in sorted(s.meta):
        print(f"  {key}: {s.meta[key]}")
    print(f"{'shard':>9} {'utts':>8} {'hours':>9} {'frames':>12} {'failed':>7}")
    making = {p.name.split(".")[1] for p in s.path.glob(".[0-9]*.tmp*")}
    for shard in sorted({*s.shards, *s.unfinished, *making}, key=int):
        if shard not in infos:
            print(f"{shard:>9} {'is being written, or its writer died' if shard in making else 'unfinished'}")
            continue
        info = infos[shard]
        hours = f"{info['seconds'] / 3600:.3f}" if "seconds" in info else "-"
        print(f"{shard:>9} {info['utterances']:>8,} {hours:>9} {info['frames']:>12,} {info['errors']:>7,}")
    failed = s.errors()
    for row in failed[:_SHOWN]:
        print(f"failed: {row['id']}: {row['error']}")
    if len(failed) > _SHOWN:
        print(f"... and {len(failed) - _SHOWN} more in errors.jsonl")


def verify(store: str, input: str = "", allow_pipes: bool = False) -> None:
    """Check every byte and every row of a token store; fail if anything is wrong.

    Args:
        store: folder of the store.
        input: what it was made of: every utterance of it has to be in the store, and no other; those that failed are listed too.
        allow_pipes: of the input: run shell commands in wav.scp.

    Raises:
        AudiokdError: something is wrong; each problem is printed.
    """
    problems = verify_store(store)
    if input:
        unread: list[str] = []
        try:
            source = open_items(input) if holds_items(input) else open_input(input, allow_pipes=allow_pipes)
            problems += missing_of(store, _utterances(source, unread))
        except AudiokdError as e:
            if not problems:
                raise
            problems.append(f"what is missing cannot be said: {' '.join(str(e).split())}")
        problems += unread
    for p in problems:
        print(p)
    if problems:
        fix = "delete the folders of damaged shards, move away what is foreign, and run the command that made the store again"
        if input:
            fix = "run the command that made the store again; for what failed, mend the files first"
        raise AudiokdError(f"{len(problems)} problems found", where=store, fix=fix)
    whole = f", all that {input} has" if input else ""
    print(f"{store}: sound, {len(open_store(store)):,} utterances{whole}")


def _utterances(source: Input, unread: list[str]) -> Iterator[Utterance]:
    """Of the shards that can be read; the others go to `unread`."""
    for shard in source.shards:
        try:
            yield from shard.load()
        except StorageError:
            raise
        except AudiokdError as e:
            unread.append(f"shard {shard.name} of the input cannot be read: {' '.join(str(e).split())}")


def stats(store: str, languages: str = "", listen: int = 5, json: str = "") -> None:
    """Print hours, rates, use and repetition of each codebook, use by speaker and language, and outliers to listen to.

    Args:
        store: folder of the store.
        languages: file of lines `utterance-id language` or `speaker language` (Kaldi's utt2lang); also a folder that has one.
        listen: utterances to list for each reason to listen to one.
        json: file to write all of it to, histograms and every speaker included.

    Raises:
        AudiokdError: there is no store, a file of it is damaged, or the languages cannot be read.
    """
    from audiokd.files import write_json
    from audiokd.tokens.quality import corpus_stats
    from audiokd.tokens.quality_tables import render_quality

    found = corpus_stats(store, read_languages(languages) if languages else None, listen)
    print(render_stats(found))
    if found["kind"] == "codes":
        print("\n" + render_quality(found))
    if json:
        write_json(json, found)
        print(f"wrote {json}")


def read_languages(path: str) -> dict[str, str]:
    """Language by utterance id or speaker: of a file like Kaldi's utt2lang, or of a folder that has one.

    Raises:
        AudiokdError: no such file, or a key that stands twice.
    """
    from pathlib import Path

    from audiokd.data.labels import read_labels

    file = Path(path) / "utt2lang" if Path(path).is_dir() else Path(path)
    return {key: " ".join(words) for key, words in read_labels(file).items() if words}


def export(
    store: str,
    out: str,
    to: Literal[
        "jsonl",
        "s3tokenizer",
        "slamkit",
        "parquet",
        "kaldi",
        "kaldi_ark",
        "webdataset",
        "lhotse",
        "npz",
        "mert",
        "hf",
    ],
    bpe: int = 0,
    audio_root: str = "",
    audio_suffix: str = ".wav",
) -> None:
    """Write a token store in a format that other tools read.

    Args:
        store: folder of the store; for hf and mert also a folder of stores, which become splits by their folders' names.
        out: file (jsonl, s3tokenizer, slamkit, parquet) or folder (the others) to write.
        to: format. kaldi is text archives and kaldi_ark ark and scp; s3tokenizer and slamkit are jsonl files of the first
            stream as these have them; lhotse is a Shar folder of cuts with codes; npz an archive a shard; mert the tsv and
            train.codec_N of fairseq's MERT; hf a Hugging Face dataset with the first stream as text, <|s_12|><|s_7|>...
        bpe: for hf: also BPE over the first stream's codes, with a vocabulary of this size; 0 is none.
        audio_root: for mert: folder of the recordings, the tsv's first line.
        audio_suffix: for mert: an utterance's recording is its id with this behind it.

    Raises:
        AudiokdError: the store is not complete or cannot be told in the format, `out` holds something else, or a package is
            missing.
    """
    from audiokd.tokens.export import export_store

    print(f"wrote {export_store(store, out, to, bpe, audio_root, audio_suffix)}")


def import_(
    source: str,
    store: str,
    from_: Literal["lhotse", "kaldi"],
    cardinality: int | list[int] = 0,
    sample_rate: int = 0,
    frame_rate: float = 0.0,
    kind: Literal["codes", "features"] = "codes",
    field: str = "",
    shard_size: int = 1000,
    max_error_rate: float = 0.01,
) -> None:
    """Make a token store of what another tool wrote.

    Args:
        source: for lhotse a Shar folder or a cuts.jsonl.gz; for kaldi a folder with tokens.0.ark, .scp or .txt, tokens.1 ... (a
            codebook each), or feats.ark, or the path of one such file.
        store: folder of the store to write; an import that was stopped goes on.
        from_: format: lhotse cuts with a field of codes, or kaldi archives of int vectors or of matrices.
        cardinality: of codes, the size of all codebooks, or of each: [1024,1024].
        sample_rate: Hz of the recordings; needed for kaldi, and for cuts without a recording.
        frame_rate: Hz of the codes; kaldi needs it where no utt2num_samples or utt2dur stands beside the archives.
        kind: what to read.
        field: of lhotse's cuts: codes (feats for features) if not given.
        shard_size: utterances a shard.
        max_error_rate: share of utterances that may fail before the exit code says so.

    Raises:
        AudiokdError: the source is damaged or something about it is not told, `store` holds another store, or too many
            utterances failed.
    """
    from audiokd.stages.corpus import outcome
    from audiokd.tokens.import_store import import_store

    rates = (sample_rate, frame_rate)
    found = import_store(source, store, from_, kind, cardinality, *rates, field=field, shard_size=shard_size)
    outcome(store, found, max_error_rate)


def merge(a: str, b: str, out: str, copy: bool = False) -> None:
    """Join two stores of one model into a new one; utterances in both must be equal and are kept once.

    Args:
        a: folder of the first store.
        b: folder of the second store.
        out: folder of the store to write: links to their shards, so that it takes no time and no room, and needs them.
        copy: copy the shards, checking each, so that `out` stands by itself.

    Raises:
        AudiokdError: the stores are of different models or kinds, an utterance differs, a file is damaged, or `out` holds
            something.
    """
    made = merge_stores(a, b, out, copy)
    print(f"wrote {out}: " + ", ".join(f"{n} {k}" for k, n in made.items()))


def diff(a: str, b: str) -> None:
    """Say how two stores differ: ids, share of equal codes, first places; fail if they do.

    Args:
        a: folder of the first store.
        b: folder of the second store.

    Raises:
        AudiokdError: the stores do not hold the same utterances with the same content.
    """
    found = diff_stores(a, b)
    print(render_diff(found))
    if not found["same"]:
        raise AudiokdError("the stores differ", where=f"{a} and {b}", fix="see the places printed above")
