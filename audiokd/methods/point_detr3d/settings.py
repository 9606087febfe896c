"""Configuration of Point-DETR3D and CenterPoint. Defaults are the official code's where they were read (README.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from audiokd.training.settings import AdamWSettings, RunSettings

#: labeller: CenterPoint from boxes
#: teacher: points to boxes, from frames whose objects have both
#: student: CenterPoint from boxes and from the teacher's boxes of all other frames
Step: TypeAlias = Literal["labeller", "teacher", "student"]


@dataclass
class Ground:
    """What all three networks look at, and how points become a map.

    Args:
        low: x, y, z where the range begins, metres.
        high: x, y, z where it ends, metres.
        cell: side of a cell, metres.
        layers: cells along z; of pillar 1, of voxel a multiple of four.
        encoder: pillar, or voxel, dense.
        point_channels: of a pillar or voxel.
        widths: of the 2-D network's stages.
        depths: 3 x 3 convolutions of each stage behind its first.
        strides: of each stage.
        class_sizes: nuscenes, the official code's table of its ten classes; or train, means of the boxes of --train.
    """

    low: tuple[float, float, float] = (-51.2, -51.2, -5.0)
    high: tuple[float, float, float] = (51.2, 51.2, 3.0)
    cell: float = 0.2
    layers: int = 1
    encoder: Literal["pillar", "voxel"] = "pillar"
    point_channels: int = 64
    widths: tuple[int, ...] = (64, 128, 256)
    depths: tuple[int, ...] = (3, 5, 5)
    strides: tuple[int, ...] = (2, 2, 2)
    class_sizes: Literal["nuscenes", "train"] = "nuscenes"


@dataclass
class CenterShape:
    """CenterPoint, of labeller and student.

    Args:
        neck_channels: of each stage in the map that heads read.
        head_channels: of the heads.
        tasks: classes that share a head, names with a space between; left out, one head for all.
        min_overlap: of a box that is moved by a Gaussian's radius, with the true one.
        min_radius: of a Gaussian, cells of the heat map.
        max_boxes: of a head and frame.
        min_score: of a box that is given.
        nms_iou: over which the lesser of two boxes of a head is left out.
    """

    neck_channels: int = 128
    head_channels: int = 64
    tasks: tuple[str, ...] = ()
    min_overlap: float = 0.1
    min_radius: int = 2
    max_boxes: int = 200
    min_score: float = 0.05
    nms_iou: float = 0.2


@dataclass
class TeacherShape:
    """The teacher.

    Args:
        query: explicit, sines of the point's place and its class' mean size; or mlp, a network of the place, as plain Point-DETR.
        roi: read a grid over the object's region, too; false is plain deformable attention.
        roi_start: the first layer's region: fixed, 5 x 5 x 4 m; or class, its class' mean size.
        images: read pictures, too.
        predict_class: give the class that the network says, not the one that was told.
        matching: identity, query i learns box i; or hungarian.
        dim: of queries and of the maps that they read.
        heads: of the attention.
        samples: places that a head reads of a map besides the region's.
        roi_side: places along a side of the region's grid.
        decoder_layers: how often a query reads.
        ffn: width of the feed-forward network.
        dropout: of attention and feed-forward network.
        cameras: of a frame.
        camera_size: height and width that pictures are read at.
        backbone: of pictures, timm's name.
        weights: of the backbone, a file, folder or hub id; random draws them, as a floor.
        image_levels: its coarsest maps that are read: 1 to 3.
        frozen_backbone: it does not learn.
        keep_maps: of a frozen backbone, hold its maps of every frame in memory, those of --dev, too: fast, for small sets;
            six pictures of 256 x 448 through a ResNet-50 are 36 MiB a frame.
        height_of_length: as in the official code, by a slip, the sines of the mean height are those of the mean length.
    """

    query: Literal["explicit", "mlp"] = "explicit"
    roi: bool = True
    roi_start: Literal["fixed", "class"] = "fixed"
    images: bool = True
    predict_class: bool = False
    matching: Literal["identity", "hungarian"] = "identity"
    dim: int = 256
    heads: int = 8
    samples: int = 16
    roi_side: int = 7
    decoder_layers: int = 1
    ffn: int = 512
    dropout: float = 0.1
    cameras: int = 6
    camera_size: tuple[int, int] = (256, 448)
    backbone: str = "resnet50"
    weights: str = ""
    image_levels: int = 3
    frozen_backbone: bool = True
    keep_maps: bool = True
    height_of_length: bool = False


@dataclass
class Beginning:
    """What a network begins with.

    Args:
        model: folder of an exported labeller: the teacher takes its layers over points, the student all it has.
    """

    model: str = ""


@dataclass
class Boxes3dLoss:
    """Weights of the losses.

    Args:
        heat: of the heat maps' focal loss.
        box: of CenterPoint's L1.
        class_focal: of the teacher's classes.
        point_box: of the teacher's L1.
        point_guided: of the agreement of two views, of the student; 0 makes no second view.
    """

    heat: float = 1.0
    box: float = 0.25
    class_focal: float = 2.0
    point_box: float = 0.25
    point_guided: float = 0.1


@dataclass
class SceneAugment:
    """How scenes are moved, cameras with them.

    Args:
        steps: that move them; others see them as they are. The official teacher does.
        flip: chance of a mirrored x, and of a mirrored y.
        angle: radians at most, either way.
        scale: part at most that a scene grows or shrinks by.
        shift: standard deviation along each axis, metres.
    """

    steps: tuple[str, ...] = ("labeller", "student")
    flip: float = 0.5
    angle: float = 0.3925
    scale: float = 0.15
    shift: float = 0.5


@dataclass
class FramesData:
    """Frames.

    Args:
        batch_size: frames a device and step.
        num_workers: loader processes a device; the batches are the same whatever it is.
        pseudo: of the student, a folder of boxes that a teacher found in --train.
        min_score: of such a box that is learnt from; the official code keeps all.
        redraw_marks: of the teacher, draw its boxes' marks anew at each step, as the official code does; false takes the set's.
        keep: hold frames in memory once they are read.
        val_items: of the validation set at most.
        test: data dirs that models are tested on; a run that would see one of their frames does not start.
    """

    batch_size: int = 4
    num_workers: int = 2
    pseudo: str = ""
    min_score: float = 0.0
    redraw_marks: bool = True
    keep: bool = False
    val_items: int = 1_000_000
    test: tuple[str, ...] = ()


@dataclass
class Boxes3dOptim(AdamWSettings):
    """AdamW, warmed up, then along a half cosine.

    Args:
        pretrained_scale: rate of a teacher's parts that began with other weights than drawn ones, over that of the others.
    """

    lr: float = 2e-4
    min_lr: float = 1e-6
    warmup_steps: int = 500
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01
    grad_clip: float = 35.0
    pretrained_scale: float = 0.1


@dataclass
class PointDetr3dSettings:
    """Everything `audiokd fit point_detr3d` can be told.

    Args:
        step: labeller, teacher or student.
        model: how points are seen.
        center: labeller and student.
        teacher: the teacher.
        init: what it begins with.
        loss: weights.
        augment: how scenes are moved.
        data: frames.
        optim: optimiser.
        run: how long and where.
    """

    step: Step = "labeller"
    model: Ground = field(default_factory=Ground)
    center: CenterShape = field(default_factory=CenterShape)
    teacher: TeacherShape = field(default_factory=TeacherShape)
    init: Beginning = field(default_factory=Beginning)
    loss: Boxes3dLoss = field(default_factory=Boxes3dLoss)
    augment: SceneAugment = field(default_factory=SceneAugment)
    data: FramesData = field(default_factory=FramesData)
    optim: Boxes3dOptim = field(default_factory=Boxes3dOptim)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=20_000, val_every=1000))
