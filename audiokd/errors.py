"""The one error type a person meets: what went wrong, where, and what to do about it."""

from __future__ import annotations


class AudiokdError(Exception):
    """An error written for the person who reads it at night.

    Args:
        what: one sentence, what is wrong.
        where: file, `file:line`, or utterance id that it is about.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None):
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.fix}" if self.fix else head

    def __reduce__(self):  # keyword-only arguments do not survive the default pickling (worker processes)
        return _rebuild, (type(self), self.what, self.where, self.fix)


class AudioError(AudiokdError):
    """One recording cannot be read as audio. A corpus run records it in errors.jsonl and goes on."""


class ImageError(AudiokdError):
    """One picture cannot be read as an image. A corpus run records it in errors.jsonl and goes on."""


class FrameError(AudiokdError):
    """One frame of a drive cannot be used: its points, its pictures or its boxes. A run records it in errors.jsonl and goes on."""


class VideoError(AudiokdError):
    """One video cannot be read, or not as asked. A corpus run records it in errors.jsonl and goes on."""


class StorageError(AudiokdError):
    """The disk is full, or may not be written to. No utterance is to blame: the run stops."""


class ConfigError(AudiokdError):
    """A configuration key or value cannot be used."""


def _rebuild(cls: type[AudiokdError], what: str, where: str | None, fix: str | None) -> AudiokdError:
    return cls(what, where=where, fix=fix)
