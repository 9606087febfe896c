"""Settings of a method as the tests want them: from packaged configs and flat keys, without the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiokd.hub.auto import part
from audiokd.stages.fit import build_settings, read_config


def settings_of(method: str, *sources: str | Mapping[str, Any]) -> Any:
    """Settings of `method`: packaged configs by name, and `{"a.b": 1}`; later ones win, and defaults lie below all."""
    tree: dict[str, Any] = {}
    for source in sources:
        for key, value in (read_config(f"{method}/{source}") if isinstance(source, str) else source).items():
            *groups, name = key.split(".")
            node = tree
            for group in groups:
                node = node.setdefault(group, {})
            node[name] = value
    return build_settings(part(method, "settings"), tree)
