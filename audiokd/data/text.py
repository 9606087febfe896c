"""Reading the text files of a data dir."""

from __future__ import annotations

from pathlib import Path

from audiokd.errors import AudiokdError


def read_utf8(file: Path, fix: str) -> str:
    """The text of a file.

    Args:
        file: to read.
        fix: what its lines look like, for who has none.

    Raises:
        AudiokdError: no such file, or not UTF-8 (file:line).
    """
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as e:
        raise AudiokdError("no such file", where=str(file), fix=fix) from e
    except UnicodeDecodeError as e:
        line = e.object.count(b"\n", 0, e.start) + 1
        raise AudiokdError(f"not UTF-8: byte 0x{e.object[e.start]:02x}", where=f"{file}:{line}", fix=fix) from e
