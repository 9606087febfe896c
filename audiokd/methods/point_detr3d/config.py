"""The two detectors as transformers configs. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig


class CenterPointConfig(PreTrainedConfig):
    """A detector that finds boxes in points: first labeller, and student.

    Args:
        labels: names of the classes.
        class_sizes: [K][3] mean length, width, height of each, metres.
        low, high: x, y, z of the box of space that is looked at, metres.
        cell: side of a cell on the ground, metres.
        layers: cells along z; 1 is pillars, a multiple of four voxels.
        encoder: pillar or voxel.
        point_channels: of a pillar or voxel.
        widths, depths, strides: of the 2-D network's stages.
        neck_channels: of each stage in the map that heads read.
        head_channels: of the heads.
        tasks: classes that share a head, names with a space between; () is one head for all.
        min_overlap, min_radius: of a Gaussian of the heat maps; the latter in cells.
        max_boxes: that a head gives of a frame.
        min_score: of a box that is given.
        nms_iou: on the ground, over which the lesser of two boxes of a head is left out; 1 leaves none.
    """

    model_type = "center_point"

    def __init__(
        self,
        labels: Sequence[str] = (),
        class_sizes: Sequence[Sequence[float]] = (),
        low: Sequence[float] = (-51.2, -51.2, -5.0),
        high: Sequence[float] = (51.2, 51.2, 3.0),
        cell: float = 0.2,
        layers: int = 1,
        encoder: str = "pillar",
        point_channels: int = 64,
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (3, 5, 5),
        strides: Sequence[int] = (2, 2, 2),
        neck_channels: int = 128,
        head_channels: int = 64,
        tasks: Sequence[str] = (),
        min_overlap: float = 0.1,
        min_radius: int = 2,
        max_boxes: int = 200,
        min_score: float = 0.05,
        nms_iou: float = 0.2,
        **kwargs: Any,
    ):
        self.labels, self.class_sizes = list(labels), [list(s) for s in class_sizes]
        self.low, self.high, self.cell, self.layers = list(low), list(high), cell, layers
        self.encoder, self.point_channels = encoder, point_channels
        self.widths, self.depths, self.strides = list(widths), list(depths), list(strides)
        self.neck_channels, self.head_channels, self.tasks = neck_channels, head_channels, list(tasks)
        self.min_overlap, self.min_radius = min_overlap, min_radius
        self.max_boxes, self.min_score, self.nms_iou = max_boxes, min_score, nms_iou
        super().__init__(**kwargs)


class PointDetr3dConfig(PreTrainedConfig):
    """A teacher that makes a box of a point somebody has set on an object.

    Args:
        labels, class_sizes, low, high, cell, layers, encoder, point_channels, widths, depths, strides: as of `CenterPointConfig`.
        dim: of a query, and of the maps that it reads.
        heads: of the attention.
        samples: places that a head reads of a map besides those of its region.
        roi_side: places along a side of the region's grid; 0 has none: plain deformable attention.
        roi_start: length, width, height of the first layer's region, metres; () is the class' mean size.
        decoder_layers: how often a query reads.
        ffn: width of the feed-forward network.
        dropout: of attention and feed-forward network.
        query: explicit (position and mean size as sines) or mlp (a network of the position, plain Point-DETR).
        height_of_length: as in the official code, the sines of the mean height are those of the mean length.
        predict_class: give the class that is predicted, not the one that was told.
        cameras: 0 reads no pictures.
        camera_size: height and width of a picture, as it is read.
        backbone: of pictures, timm's name.
        image_levels: its coarsest maps that are read, of three.
        image_mean, image_std: of each channel, as the backbone sees pictures.
        frozen_backbone: it has not been trained here.
    """

    model_type = "point_detr3d"

    def __init__(
        self,
        labels: Sequence[str] = (),
        class_sizes: Sequence[Sequence[float]] = (),
        low: Sequence[float] = (-51.2, -51.2, -5.0),
        high: Sequence[float] = (51.2, 51.2, 3.0),
        cell: float = 0.2,
        layers: int = 1,
        encoder: str = "pillar",
        point_channels: int = 64,
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (3, 5, 5),
        strides: Sequence[int] = (2, 2, 2),
        dim: int = 256,
        heads: int = 8,
        samples: int = 16,
        roi_side: int = 7,
        roi_start: Sequence[float] = (5.0, 5.0, 4.0),
        decoder_layers: int = 1,
        ffn: int = 512,
        dropout: float = 0.1,
        query: str = "explicit",
        height_of_length: bool = False,
        predict_class: bool = False,
        cameras: int = 6,
        camera_size: Sequence[int] = (256, 448),
        backbone: str = "resnet50",
        image_levels: int = 3,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        frozen_backbone: bool = True,
        **kwargs: Any,
    ):
        self.labels, self.class_sizes = list(labels), [list(s) for s in class_sizes]
        self.low, self.high, self.cell, self.layers = list(low), list(high), cell, layers
        self.encoder, self.point_channels = encoder, point_channels
        self.widths, self.depths, self.strides = list(widths), list(depths), list(strides)
        self.dim, self.heads, self.samples, self.roi_side = dim, heads, samples, roi_side
        self.roi_start, self.decoder_layers, self.ffn, self.dropout = list(roi_start), decoder_layers, ffn, dropout
        self.query, self.height_of_length, self.predict_class = query, height_of_length, predict_class
        self.cameras, self.camera_size, self.backbone = cameras, list(camera_size), backbone
        self.image_levels, self.frozen_backbone = image_levels, frozen_backbone
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        super().__init__(**kwargs)
