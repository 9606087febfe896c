"""The Inception v3 that published FIDs are of (torch-fidelity's port of the TensorFlow graph of 2015), as an encoder of pictures.

Weights: github.com/toshas/torch-fidelity, Apache-2.0. The graph resizes to 299 pixels itself, in
TensorFlow 1's way, which FIDs depend on.
"""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from audiokd.errors import AudiokdError
from audiokd.hub.auto import INCEPTION
from audiokd.nn.weights import read_checkpoint

if TYPE_CHECKING:
    from PIL.Image import Image

FILE = "weights-inception-2015-12-05-6726825d.pth"  # the last word is the start of its sha256
FIX = f"put {FILE} (github.com/toshas/torch-fidelity, release v0.2.0) there, or say inception:FILE"


class InceptionConfig(PreTrainedConfig):
    """Nothing to configure."""

    model_type = INCEPTION


class InceptionEncoder(nn.Module):
    """Features [B, 1, D] of pictures as they are.

    Args:
        weights: file; empty takes the one in torch.hub's folder, or fetches it there.

    Raises:
        AudiokdError: torch-fidelity is not installed, no such file, or it holds something else.
    """

    kind = "image"
    feature_layers = ("2048", "768", "192", "64")

    def __init__(self, weights: str = ""):
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
        except ImportError as e:
            raise AudiokdError(
                f"torch-fidelity cannot be imported ({e})", fix="pip install 'audiokd[diffusion]'"
            ) from e
        path = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / FILE
        if not weights and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), FILE[-12:-4], progress=False)
            except (urllib.error.URLError, OSError, RuntimeError) as e:  # RuntimeError: of another hash
                raise AudiokdError(
                    f"cannot be fetched: {e}", where=URL_INCEPTION_V3, fix=f"{path.parent}: {FIX}"
                ) from e
        read_checkpoint(path, FIX)  # tensors alone: what follows would run what else is pickled in it
        try:
            self.net = FeatureExtractorInceptionV3("inception", [self.feature_layers[0]], str(path))
        except RuntimeError as e:
            raise AudiokdError(f"no weights of this network: {str(e).splitlines()[0]}", where=str(path), fix=FIX) from e
        self.config: Any = InceptionConfig()

    def view(self, picture: Image) -> Tensor:
        """uint8 [3, H, W] of an RGB picture."""
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """[B, 1, D] of `x` uint8 [B, 3, H, W], D = int(layer); and [B] ones."""
        self.net.features_list = [layer]
        return self.net(x)[0][:, None], torch.ones(len(x), dtype=torch.long, device=x.device)
