"""Agreement of two views where objects are (Point-DETR3D, arXiv 2403.15317, point-guided self-supervised learning).

    L = 1/N sum over cells of M |F1 / |F1| - F2 / |F2||^2

M is a heat map with a Gaussian at each object's centre, N the number of objects. The official code
(github.com/Irvingao/Point-DETR3D at bf9a758) divides by the number of the last head's objects alone.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

SHORT = 1e-2  # a feature shorter than that counts as so long: after a ReLU it may be 0, where a direction's gradient has no bound


def point_guided(mine: Tensor, theirs: Tensor, where: Tensor, objects: int) -> Tensor:
    """The loss, scalar: a weighted sum over cells, over the number of objects, at least one.

    Args:
        mine: [B, C, H, W] of one view, as it lies on the scene.
        theirs: the same of the other view; no gradient passes to it.
        where: M [B, H, W], 0 where a view has no cell.
        objects: N.
    """
    distance = (F.normalize(mine, dim=1, eps=SHORT) - F.normalize(theirs.detach(), dim=1, eps=SHORT)).pow(2).sum(1)
    return (where * distance).sum() / max(objects, 1)
