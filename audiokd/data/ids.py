"""Utterance ids and one reversible percent-encoding: of what no id may hold, where ids come in; of what a format cannot hold,
where they go out.

Slashes and letters of any script are legal ids. Whitespace and control characters are not: a line of a Kaldi file ends an id
there. Names of files are encoded when they are read; so are keys of tars and ids of cuts that are no legal ids, the others
being ids already.
"""

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


def is_legal(utt_id: str) -> bool:
    """Whether an id holds neither whitespace nor control characters."""
    return bool(utt_id) and not _ILLEGAL.search(utt_id)


def legal_id(name: str) -> str:
    """`name` itself where it is a legal id, else encoded."""
    return name if is_legal(name) else escape_id(name)


def unescape_id(name: str) -> str:
    """The id that `escape_id` was given; a name of other tools whose %XX are no UTF-8 stays as it is."""
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name


_ILLEGAL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


@lru_cache
def _special(more: str) -> re.Pattern[str]:
    return re.compile(rf"[%\s\x00-\x1f\x7f-\x9f{re.escape(more)}]")
