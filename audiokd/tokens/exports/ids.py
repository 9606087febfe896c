"""Utterance ids where a format cannot hold every character: one reversible percent-encoding."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote


def escape_id(utt_id: str, more: str = "") -> str:
    """`utt_id` with whitespace, control characters, % and the characters of `more` as the %XX of their UTF-8 bytes.

    Slashes and letters of any script stay as they are: only what the format at hand cannot hold belongs in `more`.

    >>> escape_id("book/ch.1 é")
    'book/ch.1%20é'
    >>> escape_id("100%/a.b", more="./")
    '100%25%2Fa%2Eb'
    >>> unescape_id("100%25%2Fa%2Eb")
    '100%/a.b'
    """
    return _special(more).sub(lambda m: "".join(f"%{byte:02X}" for byte in m[0].encode()), utt_id)


def unescape_id(name: str) -> str:
    """The id that `escape_id` was given; a name of other tools whose %XX are no UTF-8 stays as it is."""
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name


@lru_cache
def _special(more: str) -> re.Pattern[str]:
    return re.compile(rf"[%\s\x00-\x1f\x7f-\x9f{re.escape(more)}]")
