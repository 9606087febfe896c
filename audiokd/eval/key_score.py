"""MIREX's score of a key: 1 where it is right, less for keys that are near it (music-ir.org, Audio Key Detection)."""

from __future__ import annotations

import re

from audiokd.errors import AudiokdError

#: an estimate a fifth above, the relative key, the parallel key
FIFTH, RELATIVE, PARALLEL = 0.5, 0.3, 0.2
_NAME = re.compile(r"([A-G])([#b♯♭]?)[\s:_-]*(maj(or)?|min(or)?|m|M)?", re.IGNORECASE)
_CLASS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def read_key(name: str) -> tuple[int, bool]:
    """Pitch class, C is 0, and whether it is major, of names such as "Eb minor", "F#:maj", "am" or "C".

    Raises:
        AudiokdError: no such key.
    """
    match = _NAME.fullmatch(name.strip())
    if not match:
        raise AudiokdError(f"{name!r} is no key", fix="names such as C major, F# minor, Bb:min")
    letter, sign, mode = match[1], match[2], match[3] or ""
    if letter.islower() and not mode:  # as some write minor
        return (_CLASS[letter.upper()] + _shift(sign)) % 12, False
    minor = mode == "m" or mode.lower().startswith("min")
    return (_CLASS[letter.upper()] + _shift(sign)) % 12, not minor


def _shift(sign: str) -> int:
    return {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}[sign.lower()]


def key_score(reference: tuple[int, bool], estimate: tuple[int, bool]) -> float:
    """The weight of `estimate`, both as `read_key` gives them."""
    if reference == estimate:
        return 1.0
    (tonic, major), (other, same) = reference, estimate
    above = (other - tonic) % 12
    if major == same:
        return FIFTH if above == 7 else 0.0
    if above == (9 if major else 3):
        return RELATIVE
    return PARALLEL if above == 0 else 0.0
