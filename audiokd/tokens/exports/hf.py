"""hf: a Hugging Face dataset, for `datasets.load_dataset(folder)` and for training a language model. Needs pyarrow.

README.md                      the dataset card: splits, features, what made it
data/<split>-00000-of-00001.parquet   a file a shard of the split's store
bpe/tokenizer.json             only with BPE over the semantic stream's codes
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write, write_text
from audiokd.progress import progress
from audiokd.tokens.exports.parquet import columns_of, need_pyarrow, schema_of
from audiokd.tokens.exports.splits import need_codes_of_one_model
from audiokd.tokens.lm_text import UNITS, lm_text, units
from audiokd.tokens.reader import StoredCodes, TokenStore

MARK = "Written by `audiokd store export --to hf`."
_ROW_GROUP = 1000


def export_hf(stores: Mapping[str, TokenStore], out: Path, bpe: int = 0) -> None:
    """Write columns id, codes [Q, T'], frames, num_samples, sample_rate, text, speaker, speech, and bpe where asked for.

    `speech` is stream 0 as text, `<|s_12|><|s_7|>...`, which is what `audiokd fit speech_lm` calls these tokens. `bpe` are ids
    of bpe/tokenizer.json, trained on the first split.

    Args:
        stores: split name -> store of codes.
        out: folder to write.
        bpe: size of the BPE vocabulary; 0 is none.

    Raises:
        AudiokdError: a store of features, stores of different models, or a `bpe` below the codebook's size.
    """
    pa, pq = need_pyarrow("hf")
    first = next(iter(stores.values()))
    need_codes_of_one_model(stores)
    merger = train_bpe(first, bpe) if bpe else None
    counts = {}
    with progress("export hf", sum(len(s) for s in stores.values()), "utt") as bar:
        for name, store in stores.items():
            schema = schema_of(store).append(pa.field("speech", pa.string()))
            if merger is not None:
                schema = schema.append(pa.field("bpe", pa.list_(pa.uint32())))
            tally = {"utterances": 0, "frames": 0, "bpe": 0, "bytes": 0}
            for number, shard in enumerate(store.shards):
                path = out / "data" / f"{name}-{number:05d}-of-{len(store.shards):05d}.parquet"
                with atomic_write(path) as f, pq.ParquetWriter(f, schema, compression="zstd") as writer:
                    items = store.items(shard)
                    while group := list(itertools.islice(items, _ROW_GROUP)):
                        columns = columns_of(group, schema, "codes")
                        columns.append(pa.array([lm_text(u.array[0]) for u in group], pa.string()))
                        if merger is not None:
                            merged = [e.ids for e in merger.encode_batch([units(u.array[0]) for u in group])]
                            columns.append(pa.array(merged, pa.list_(pa.uint32())))
                            tally["bpe"] += sum(map(len, merged))
                        batch = pa.RecordBatch.from_arrays(columns, schema=schema)
                        writer.write_batch(batch)
                        tally["bytes"] += batch.nbytes
                        tally["utterances"] += len(group)
                        tally["frames"] += sum(u.array.shape[1] for u in group)
                        bar.advance(len(group))
            counts[name] = tally
    if merger is not None:
        write_text(out / "bpe" / "tokenizer.json", merger.to_str(pretty=False))
    write_text(out / "README.md", _card(schema, counts, first.meta, bpe))


def train_bpe(store: TokenStore, size: int) -> Any:
    """A `tokenizers` BPE over stream 0, a character a code (`lm_text.units`), that loses nothing: every code is in it.

    Raises:
        AudiokdError: `size` does not exceed the codebook, or the codebook has more codes than there are private characters.
    """
    import tokenizers
    from tokenizers import models, trainers

    codes = int(store.meta["cardinality"][0])
    if codes > UNITS:
        raise AudiokdError(f"a codebook of {codes} codes has no character a code", fix=f"BPE takes up to {UNITS}")
    if size <= codes:
        what = f"a BPE vocabulary of {size} has no room for merges over {codes} codes"
        raise AudiokdError(what, where=str(store.path), fix="raise --bpe, such as to twice the codebook")
    merger = tokenizers.Tokenizer(models.BPE())
    alphabet = list(units(np.arange(codes)))
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    merger.train_from_iterator(_sequences(store), trainer)
    return merger


def _sequences(store: TokenStore) -> Iterator[str]:
    for u in store.items():
        assert isinstance(u, StoredCodes)
        yield units(u.array[0])


def _card(schema: Any, counts: dict[str, dict[str, int]], meta: dict[str, Any], bpe: int) -> str:
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for name in counts:
        lines += [f"  - split: {name}", f"    path: data/{name}-*.parquet"]
    lines += ["dataset_info:", "  features:"]
    for field in schema:
        lines.append(f"  - name: {field.name}")
        type, indent = field.type, "    "
        while hasattr(type, "value_type"):
            lines.append(f"{indent}sequence:")
            type, indent = type.value_type, indent + "  "
        lines.append(f"{indent}dtype: {type}")
    lines.append("  splits:")
    for name, c in counts.items():
        lines += [f"  - name: {name}", f"    num_bytes: {c['bytes']}", f"    num_examples: {c['utterances']}"]
    lines += ["tags: [audio, speech-tokens, audiokd]", "---", "# Speech tokens", "", MARK, ""]
    lines += ["| what made the tokens | |", "| --- | --- |", *(f"| {k} | {meta[k]} |" for k in sorted(meta)), ""]
    lines += [
        "`speech` is the first stream as text for a language model: `<|s_12|><|s_7|>...`. `codes` are all streams.",
        "",
    ]
    head = "| split | utterances | hours | frames |"
    if bpe:
        lines += [
            f"`bpe` are ids of bpe/tokenizer.json (vocabulary {bpe}, trained on {next(iter(counts))}), in which code i is the",
            "character U+F0000 + i.",
            "",
        ]
        head += " BPE tokens | frames a BPE token |"
    lines += [head, "| --- " * (head.count("|") - 1) + "|"]
    for name, c in counts.items():
        row = f"| {name} | {c['utterances']} | {c['frames'] / meta['frame_rate'] / 3600:.3f} | {c['frames']} |"
        lines.append(row + (f" {c['bpe']} | {c['frames'] / max(1, c['bpe']):.3f} |" if bpe else ""))
    return "\n".join(lines) + "\n"
