"""A detector as one graph for other runtimes, ONNX or torch.export: pictures in, raw scores and maps out, equal to the model's own.

No threshold is in the graph. FILE.json beside it says how a picture becomes the input, and has the thresholds.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write, write_json
from audiokd.methods.dbfad.model import DBFADModel
from audiokd.teachers.base import load_pretrained

OPSET = 17  # of ONNX


class Graph(nn.Module):
    """`pixel_values` [B, 3, size, size] to `score` [B] and `map` [B, size, size].

    Args:
        model: the detector.
    """

    def __init__(self, model: DBFADModel):
        super().__init__()
        self.model = model.eval()

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(pixel_values)


def convert_dbfad_onnx(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write the model folder `src` as the ONNX file `dst`, for batches of any size.

    Raises:
        AudiokdError: no such model, or the package onnx is not there.
    """
    try:
        import onnx  # noqa: F401  what torch's exporter writes by
    except ImportError as e:
        raise AudiokdError("the package onnx is not there", fix="pip install 'audiokd[onnx]'") from e
    graph, x = _graph(src)
    names = {"input_names": ["pixel_values"], "output_names": ["score", "map"]}
    batch = {name: {0: "batch"} for name in ("pixel_values", "score", "map")}
    with atomic_write(dst) as f, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's age
        torch.onnx.export(graph, (x,), f, **names, dynamic_axes=batch, opset_version=OPSET, dynamo=False)
    _write_about(graph.model, dst)


def convert_dbfad_pt2(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write the model folder `src` as a program of torch.export, `dst` (.pt2), for batches of any size.

    Raises:
        AudiokdError: no such model.
    """
    graph, x = _graph(src)
    logging.getLogger("torch.export").setLevel(logging.ERROR)
    with torch.no_grad():
        program = torch.export.export(graph, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},))
    with atomic_write(dst) as f:
        torch.export.save(program, f)  # type: ignore[arg-type]
    _write_about(graph.model, dst)


def _graph(src: str | os.PathLike[str]) -> tuple[Graph, Tensor]:
    model: Any = load_pretrained(DBFADModel, os.fspath(src), "the detector", "an export of fit dbfad")
    return Graph(model), torch.zeros(2, 3, *model.preprocess.size)


def _write_about(model: DBFADModel, dst: str | os.PathLike[str]) -> None:
    about = {"preprocess": model.config.preprocess, "thresholds": model.thresholds, "kind": model.config.kind}
    write_json(Path(f"{os.fspath(dst)}.json"), about)
