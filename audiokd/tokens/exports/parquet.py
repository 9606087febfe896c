"""parquet: one row an utterance, for pandas, polars, DuckDB and datasets. Needs pyarrow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write
from audiokd.progress import progress
from audiokd.tokens import layout
from audiokd.tokens.reader import StoredCodes, StoredFeatures, TokenStore

_ROW_GROUP = 1000  # utterances: about 100 MB of 30 s each


def export_parquet(store: TokenStore, out: Path) -> None:
    """Write columns id, codes (list<list<uint>>, [Q, T']), frames, num_samples, sample_rate, text, speaker.

    A store of features has `features` [T', D] in place of codes. The store's meta is in the file's metadata under
    `audiokd_meta`, as JSON.

    Raises:
        AudiokdError: pyarrow is not installed.
    """
    pa, pq = need_pyarrow("parquet")
    schema = schema_of(store).with_metadata({"audiokd_meta": json.dumps(store.meta, sort_keys=True)})
    with (
        progress("export parquet", len(store), "utt") as bar,
        atomic_write(out) as f,
        pq.ParquetWriter(f, schema, compression="zstd") as writer,
    ):
        items = store.items()
        while group := list(itertools.islice(items, _ROW_GROUP)):
            writer.write_batch(pa.RecordBatch.from_arrays(columns_of(group, schema, store.kind), schema=schema))
            bar.advance(len(group))


def need_pyarrow(format: str) -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet.

    Raises:
        AudiokdError: they are not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise AudiokdError(f"{format} needs pyarrow", fix="pip install 'audiokd[score]'") from e
    return pa, pq


def schema_of(store: TokenStore) -> Any:
    """The columns of a store's utterances, as a pyarrow schema."""
    import pyarrow as pa

    if store.kind == "codes":
        dtype = layout.code_dtype(store.meta["cardinality"])
    else:
        dtype = np.result_type(np.float16, *(store.array(s).dtype for s in store.shards))
    return pa.schema(
        [
            ("id", pa.string()),
            (store.kind, pa.list_(pa.list_(pa.from_numpy_dtype(dtype)))),
            ("frames", pa.int32()),
            ("num_samples", pa.int64()),
            ("sample_rate", pa.int32()),
            ("text", pa.string()),
            ("speaker", pa.string()),
        ]
    )


def columns_of(group: Sequence[StoredCodes | StoredFeatures], schema: Any, kind: str) -> list[Any]:
    """The arrays of `schema_of`'s columns; from flat arrays, as Python lists would be a hundred times slower."""
    import pyarrow as pa

    arrays = [u.array for u in group]
    dtype = schema.field(kind).type.value_type.value_type.to_pandas_dtype()
    values = np.concatenate([a.astype(dtype, copy=False).ravel() for a in arrays])
    inner = np.concatenate([[0], np.repeat([a.shape[1] for a in arrays], [a.shape[0] for a in arrays])])
    outer = np.concatenate([[0], [a.shape[0] for a in arrays]])
    lists = pa.array(values)
    for lengths in (inner, outer):
        lists = pa.ListArray.from_arrays(pa.array(np.cumsum(lengths), pa.int32()), lists)
    frames = [a.shape[1] if kind == "codes" else a.shape[0] for a in arrays]
    columns = [pa.array([u.id for u in group]), lists, pa.array(frames, pa.int32())]
    names = ("num_samples", "sample_rate", "text", "speaker")
    return columns + [pa.array([getattr(u, n) for u in group], schema.field(n).type) for n in names]
