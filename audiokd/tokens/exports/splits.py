"""What exports of several stores, each a split of one data set, ask of them."""

from __future__ import annotations

from collections.abc import Mapping

from audiokd.errors import AudiokdError
from audiokd.tokens.layout import meta_differences
from audiokd.tokens.reader import TokenStore


def need_codes_of_one_model(stores: Mapping[str, TokenStore]) -> None:
    """Check split name -> store.

    Raises:
        AudiokdError: a store of features, or stores of different models.
    """
    first_name, first = next(iter(stores.items()))
    for name, store in stores.items():
        if store.kind != "codes":
            raise AudiokdError(f"a store of {store.kind} has no tokens", where=str(store.path), fix="use parquet")
        if differ := meta_differences(first.meta, store.meta, first_name, name):
            what = "the splits were made by different models: " + "; ".join(differ)
            raise AudiokdError(what, where=str(store.path), fix="tokenize all of them with one model")
