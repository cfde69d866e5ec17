"""What augmentation does, as a picture: poses before and after every operator, drawn over each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..data.augmentation import SkeletonAugmentation
from ..skeletons import SkeletonLayout, get_layout
from .rendering import _as_sequence, _target, render_strip, vertical_axis


_NEED_SPACE = ("rotate", "rotate_3d")


def list_operators() -> dict[str, tuple[str, ...]]:
    """Names of the operators of [`SkeletonAugmentation`]: those of "space" and those of "time"."""
    known = SkeletonAugmentation(probability=0.0)
    return {"space": tuple(known._spatial), "time": tuple(known._temporal)}


def render_augmentations(
    keypoints: Any,
    layout: str | dict | SkeletonLayout,
    path: str | os.PathLike | None = None,
    frame_mask: Any = None,
    operators: Sequence[str] = (),
    seed: int = 0,
    poses: int = 6,
    size: tuple[int, int] = (190, 240),
    view: str | tuple[float, float] = "camera",
    **settings: Any,
) -> Image.Image:
    """Draws a sequence before (blue and orange) and after (green and pink) operators of augmentation, one row for each.

    Args:
        keypoints: `(persons, frames, joints, 2 or 3)`; the first person is drawn.
        layout: the joint layout, by name or as an object.
        path: file to write, ending in `.png`; None writes none.
        frame_mask: bool `(persons, frames)`. Default: where any coordinate is not 0.
        operators: see [`SkeletonAugmentation`]; all that fit the number of coordinates if empty.
        seed: seed of the draws.
        poses: poses in a row.
        size: width and height of a pose in pixels.
        view: see [`render_frames`].
        **settings: further arguments of [`SkeletonAugmentation`]. `vertical_axis` and `flip_axis` are told from the data if left out.

    Returns:
        The picture.

    Raises:
        ValueError: for an unknown operator, or arrays that do not fit.
    """
    layout = get_layout(layout)
    array, mask = _as_sequence(keypoints, frame_mask, layout)
    array, mask = array[:1].astype(np.float32), mask[:1]
    known = list_operators()
    if not operators:
        operators = [o for o in (*known["space"], *known["time"]) if array.shape[3] == 3 or o not in _NEED_SPACE]
    axis, sign = vertical_axis(array, mask, layout) if array.shape[3] == 3 else (1, -1)
    vertical = " yz"[axis]
    defaults = {
        "vertical_axis": vertical,
        "flip_axis": "x",
        "layout": layout,
        "crop_resize_min_frames": 1,
    }
    up = f"-{vertical}" if sign < 0 else vertical  # of the sequence before, however it lies afterwards
    rows = []
    for operator in operators:
        kind = "temporal" if operator in known["time"] else "spatial"
        chosen = {"spatial": (), "temporal": (), kind: (operator,)}
        augment = SkeletonAugmentation(**{**defaults, **settings, **chosen, "probability": 1.0})
        after, after_mask = augment(array, mask, np.random.default_rng(seed))
        frames = max(mask.shape[1], after_mask.shape[1])
        both = np.full((2, frames, *array.shape[2:]), np.nan)
        present = np.zeros((2, frames), dtype=bool)
        for person, (points, there) in enumerate(((array, mask), (after, after_mask))):
            found = points.any(axis=-1, keepdims=True)  # a joint that was dropped is not drawn
            both[person, : there.shape[1]] = np.where(found, points, np.nan)[0]
            present[person, : there.shape[1]] = there[0]
        rows.append(render_strip(both, layout, None, poses, present, operator, size=size, view=view, up=up))
    picture = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    top = 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    if path is not None:
        picture.save(_target(path, ".png"))
    return picture


__all__ = ["list_operators", "render_augmentations"]
