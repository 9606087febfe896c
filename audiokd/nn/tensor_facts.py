"""What tensors a value holds, where, and whether any has been replaced or changed in place since."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from enum import Enum
from typing import Any, TypeAlias

import torch
from torch import Tensor

#: of each tensor and its version, of each container what it is, of each plain value itself; UNKNOWN of anything else
Facts: TypeAlias = tuple[tuple[Any, Any], ...]
#: stands for what nothing can be told of: objects of a model's own, generators, and tensors of inference mode
UNKNOWN = object()
#: values that do not change
PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, Enum)


def facts_of(value: Any) -> Facts:
    """What there is in a tensor, or in tuples, lists and dicts of tensors and plain values, however deep; nothing is copied."""
    return tuple(_facts(value))


def _facts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Tensor):
        yield value, UNKNOWN if value.is_inference() else value._version
    elif isinstance(value, PLAIN):
        yield None, value
    elif (inner := _inner(value)) is not None:
        yield type(value), tuple(k for k, _ in inner)
        for _, x in inner:
            yield from _facts(x)
    else:
        yield UNKNOWN, id(value)


def _inner(value: Any) -> list[tuple[Any, Any]] | None:
    """What a container holds, and under which keys; None of what is none."""
    if isinstance(value, dict):  # those of transformers have attributes beside
        return [*value.items(), *getattr(value, "__dict__", {}).items()]
    return list(enumerate(value)) if isinstance(value, (tuple, list)) else None


def same_facts(a: Facts, b: Facts, unknown: bool = False) -> bool:
    """Whether these are the very tensors, of the same versions, in the same places.

    Args:
        a, b: of `facts_of`.
        unknown: what is not known counts as the same where it is the same object; else as changed.
    """
    if len(a) != len(b):
        return False
    for (x, seen), (y, now) in zip(a, b):
        if (x is UNKNOWN or seen is UNKNOWN) and not unknown:
            return False
        # of nan and of tensors `==` is no answer
        if x is not y or not (seen is now or seen == now):
            return False
    return True


def tensors_of(value: Any) -> list[Tensor]:
    """Tensors of a value in their order, each once."""
    return list({id(of): of for of, _ in facts_of(value) if isinstance(of, Tensor)}.values())


def copied(value: Any) -> Any:
    """Tuples, lists and dicts anew with copies of their tensors; what is not known is left as it is."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        found = copy(value)
        for k, v in value.items():
            found[k] = copied(v)
        return found
    if hasattr(value, "_fields"):
        return type(value)(*map(copied, value))
    return type(value)(map(copied, value)) if isinstance(value, (tuple, list)) else value
