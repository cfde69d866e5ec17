"""Pictures of skeleton sequences: animated GIFs, strips of poses, single frames.

Points are projected orthographically by hand and drawn with Pillow at twice the size, so a GIF of 60 frames takes about a second and
needs neither a display nor a figure library's 3D axes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..skeletons import SkeletonLayout, get_layout


_OVERSAMPLING = 2
_BACKGROUND = (252, 252, 250)
_GRID = (228, 230, 232)
_INK = (38, 42, 48)
_FAINT = (150, 155, 162)

# Colours of (trunk, left arm, right arm, left leg, right leg), one row per person: left cool, right warm.
_PALETTES = (
    ((74, 80, 90), (33, 113, 181), (217, 95, 2), (66, 146, 198), (241, 135, 45)),
    ((128, 122, 140), (27, 140, 115), (197, 27, 110), (65, 174, 148), (222, 84, 150)),
    ((110, 100, 80), (84, 62, 168), (176, 130, 0), (120, 100, 200), (210, 165, 30)),
)
_PART_NAMES = ("trunk", "left_arm", "right_arm", "left_leg", "right_leg")

VIEWS: dict[str, tuple[float, float]] = {
    "camera": (0.0, 10.0),
    "front": (0.0, 8.0),
    "side": (90.0, 6.0),
    "three_quarter": (35.0, 14.0),
    "top": (0.0, 89.0),
}
"""Azimuth and elevation in degrees of the named views; "front", "side" and "three_quarter" count from where the first person looks."""


@lru_cache(maxsize=16)
def _font(size: int, bold: bool = False) -> Any:
    import matplotlib  # only for the font file that it brings

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name), size)


# -- checking the input ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scene:
    """What is drawn: screen positions in world units (x to the right, y up), depth, and what is visible."""

    points: np.ndarray  # (persons, frames, joints, 2)
    depth: np.ndarray  # (persons, frames, joints), larger is nearer to the viewer
    visible: np.ndarray  # (persons, frames, joints)
    present: np.ndarray  # (persons, frames)
    ground: list[np.ndarray]  # line segments (2, 2)
    bounds: tuple[np.ndarray, np.ndarray]  # lower and upper corner
    layout: SkeletonLayout


def _as_sequence(keypoints: Any, frame_mask: Any, layout: SkeletonLayout) -> tuple[np.ndarray, np.ndarray]:
    array = np.asarray(keypoints, dtype=np.float64)
    if array.ndim == 3:
        array = array[None]  # (1, frames, joints, channels)
    if array.ndim != 4 or array.shape[-1] not in (2, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"keypoints must have the shape (persons, frames, joints, channels) with 2 to 4 channels, got {np.shape(keypoints)}"
        )
    if array.shape[2] != layout.num_joints:
        raise ValueError(
            f"keypoints have {array.shape[2]} joints but layout {layout.name!r} has {layout.num_joints}; pass the layout of the recording"
        )
    if frame_mask is None:
        mask = np.any(np.nan_to_num(array) != 0, axis=(2, 3))
    else:
        mask = np.asarray(frame_mask, dtype=bool)
        mask = mask[None] if mask.ndim == 1 else mask
    if mask.shape != array.shape[:2]:
        raise ValueError(f"frame_mask must have the shape {array.shape[:2]} (persons, frames), got {mask.shape}")
    return array, mask


def vertical_axis(keypoints: np.ndarray, frame_mask: np.ndarray, layout: SkeletonLayout) -> tuple[int, int]:
    """Axis (1 or 2) and sign of the upward direction of 3D keypoints, from the mean direction of the spine.

    Args:
        keypoints: `(persons, frames, joints, 3)`.
        frame_mask: bool `(persons, frames)`.
        layout: its `spine` is used; without one the answer is +y.
    """
    if layout.spine is None or not frame_mask.any():
        return 1, 1
    lower, upper = layout.spine
    spine = np.nanmean(keypoints[frame_mask][:, upper, :3] - keypoints[frame_mask][:, lower, :3], axis=0)
    axis = 2 if abs(spine[2]) > abs(spine[1]) else 1
    return axis, -1 if spine[axis] < 0 else 1


def _facing(
    keypoints: np.ndarray, frame_mask: np.ndarray, layout: SkeletonLayout, up: np.ndarray
) -> np.ndarray | None:
    """Mean horizontal direction in which the first visible person looks, None where it cannot be told."""
    persons = np.flatnonzero(frame_mask.any(axis=1))
    if layout.shoulders is None or not len(persons):
        return None
    person = persons[0]
    left, right = layout.shoulders
    frames = keypoints[person][frame_mask[person]]
    to_left = np.nanmean(frames[:, left, :3] - frames[:, right, :3], axis=0)
    forward = np.cross(to_left, up)  # x to the left, y up, z forward is a right-handed frame
    length = np.linalg.norm(forward)
    return forward / length if length > 1e-6 else None


def _view_angles(view: str | tuple[float, float]) -> tuple[float, float]:
    if isinstance(view, str):
        if view not in VIEWS:
            raise ValueError(
                f"unknown view {view!r}; choose one of {list(VIEWS)} or give (azimuth, elevation) in degrees"
            )
        return VIEWS[view]
    azimuth, elevation = view
    return float(azimuth), float(elevation)


def _project(
    keypoints: Any, frame_mask: Any, layout: SkeletonLayout, view: str | tuple[float, float], up: str, channels: str
) -> _Scene:
    array, mask = _as_sequence(keypoints, frame_mask, layout)
    if channels not in ("auto", "xyz", "xy", "xyc"):
        raise ValueError(f"channels must be 'auto', 'xyz', 'xy' or 'xyc' (2D with confidence), got {channels!r}")
    flat = array.shape[-1] == 2 or channels in ("xy", "xyc")
    azimuth, elevation = _view_angles(view)
    finite = np.isfinite(array).all(axis=-1) & mask[..., None]  # (persons, frames, joints)
    array = np.where(finite[..., None], array, 0.0)
    ground: list[np.ndarray] = []
    if flat:
        # an undetected 2D joint is written as (0, 0), or has no confidence
        finite &= np.any(array[..., :2] != 0, axis=-1)
        if channels == "xyc" and array.shape[-1] > 2:
            finite &= array[..., 2] > 0
        points = array[..., :2] * np.array([1.0, -1.0])  # image rows run downwards
        depth = np.zeros(points.shape[:-1])
    else:
        if array.shape[-1] < 3:
            raise ValueError(f"channels={channels!r} needs 3 channels, got {array.shape[-1]}")
        if up not in ("auto", "y", "z", "-y", "-z"):
            raise ValueError(f"up must be 'auto', 'y', 'z', '-y' or '-z', got {up!r}")
        xyz = array[..., :3]
        axis, sign = (
            vertical_axis(xyz, mask, layout) if up == "auto" else (" yz".index(up[-1]), -1 if up[0] == "-" else 1)
        )
        vertical = np.eye(3)[axis] * sign
        # the recording camera stands at -z in a y-up frame; in a z-up frame people look along +y
        viewer = np.array([0.0, 0.0, -1.0]) if axis == 1 else np.array([0.0, 1.0, 0.0])
        if view in ("front", "side", "three_quarter"):
            facing = _facing(xyz, mask, layout, vertical)
            viewer = viewer if facing is None else facing
        right = np.cross(vertical, viewer)
        a, e = np.radians(azimuth), np.radians(elevation)
        viewer, right = np.cos(a) * viewer + np.sin(a) * right, np.cos(a) * right - np.sin(a) * viewer
        towards = np.cos(e) * viewer + np.sin(e) * vertical
        screen_up = np.cos(e) * vertical - np.sin(e) * viewer
        points = np.stack([xyz @ right, xyz @ screen_up], axis=-1)
        depth = xyz @ towards
        if finite.any():
            ground = _ground_grid(xyz[finite], right, viewer, vertical, screen_up)
    if finite.any():
        shown = points[finite]
        low, high = shown.min(axis=0), shown.max(axis=0)
    else:
        low, high = np.zeros(2), np.ones(2)
    return _Scene(points, depth, finite, mask, ground, (low, high), layout)


def _ground_grid(
    points: np.ndarray, right: np.ndarray, viewer: np.ndarray, vertical: np.ndarray, screen_up: np.ndarray
) -> list[np.ndarray]:
    """Lines of a square grid under the feet, about four cells along a person's height."""
    height = points @ vertical
    floor = np.percentile(height, 1)
    cell = max(float(height.max() - floor), 1e-6) / 3.4
    spans = []
    for direction in (right, viewer):
        along = points @ direction
        low, high = np.floor(along.min() / cell) - 1, np.ceil(along.max() / cell) + 1
        if high - low > 60:  # something is wildly off; a grid would only hide it
            return []
        spans.append(np.arange(low, high + 1) * cell)
    lines = []
    for first, second, a, b in ((right, viewer, *spans), (viewer, right, *spans[::-1])):
        for offset in a:
            ends = floor * vertical + offset * first + np.outer(b[[0, -1]], second)  # (2, 3)
            lines.append(np.stack([ends @ right, ends @ screen_up], axis=-1))
    return lines


# -- drawing ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _bone_parts(layout: SkeletonLayout) -> tuple[tuple[int, int, int], ...]:
    """`(joint, joint, part)` of every edge; an edge takes the part of the joint that is farther out."""
    part_of = {}
    for number, (name, joints) in enumerate(layout.body_parts.items()):
        part = _PART_NAMES.index(name) if name in _PART_NAMES else number % len(_PART_NAMES)
        part_of.update(dict.fromkeys(joints, part))
    return tuple((a, b, part_of[a] or part_of[b]) for a, b in layout.edges)


def _joint_part(layout: SkeletonLayout) -> dict[int, int]:
    return {joint: part for a, b, part in _bone_parts(layout) for joint in (a, b)}


@dataclass(frozen=True)
class _Canvas:
    """Maps world units to pixels of the oversampled picture."""

    width: int
    height: int
    top: int  # pixels kept free for the text
    scale: float
    shift: np.ndarray

    @classmethod
    def fit(cls, scene: _Scene, size: tuple[int, int], top: int, bottom: int) -> _Canvas:
        width, height = size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING
        low, high = scene.bounds
        margin = 0.07 * min(width, height)
        room = np.array([width - 2 * margin, height - top - bottom - 2 * margin])
        scale = float((room / np.maximum(high - low, 1e-6)).min())
        middle = np.array([width / 2, top + (height - top - bottom) / 2])
        return cls(width, height, top, scale, middle - scale * np.array([1.0, -1.0]) * (low + high) / 2)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points * np.array([self.scale, -self.scale]) + self.shift


def _tone(colour: tuple[int, int, int], amount: float) -> tuple[int, int, int]:
    """Mixes a colour with the background."""
    return tuple(round(c + (b - c) * amount) for c, b in zip(colour, _BACKGROUND))  # type: ignore[return-value]


def _draw_people(draw: ImageDraw.ImageDraw, scene: _Scene, frame: int, canvas: _Canvas) -> None:
    low, high = scene.bounds
    width = float(np.clip(canvas.scale * np.max(high - low) * 0.011, 2, 9 * _OVERSAMPLING))
    persons = np.flatnonzero(scene.present[:, frame])
    distance = [
        scene.depth[p, frame][scene.visible[p, frame]].mean() if scene.visible[p, frame].any() else 0 for p in persons
    ]
    parts = _joint_part(scene.layout)
    for person in persons[np.argsort(distance)]:
        pixels = canvas(scene.points[person, frame])
        depth, visible = scene.depth[person, frame], scene.visible[person, frame]
        palette = _PALETTES[person % len(_PALETTES)]
        bones = [bone for bone in _bone_parts(scene.layout) if visible[bone[0]] and visible[bone[1]]]
        for a, b, part in sorted(bones, key=lambda bone: depth[bone[0]] + depth[bone[1]]):
            ends = [tuple(pixels[a]), tuple(pixels[b])]
            draw.line(ends, fill=_BACKGROUND, width=round(width * 1.9))  # a halo keeps crossing limbs apart
            draw.line(ends, fill=palette[part], width=round(width))
        for joint in np.flatnonzero(visible):
            head = scene.layout.joints[joint] == "head"
            radius = width * (2.1 if head else 0.85)
            x, y = pixels[joint]
            colour = palette[parts.get(int(joint), 0)]
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, fill=_tone(colour, 0.75) if head else colour, outline=colour, width=round(width * 0.6))


def _fit_text(text: str, size: int, room: float, bold: bool = False) -> tuple[str, Any]:
    """Text and font that fit into `room` pixels: first smaller, then cut."""
    for smaller in range(size, max(8, size // 2) - 1, -2):
        font = _font(smaller, bold)
        if font.getlength(text) <= room:
            return text, font
    while len(text) > 1 and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "...", font


def _text_height(size: tuple[int, int]) -> int:
    return max(16, round(min(size) * 0.042 * _OVERSAMPLING))


def _backdrop(scene: _Scene, canvas: _Canvas, title: str | None, size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", (canvas.width, canvas.height), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    for line in scene.ground:
        draw.line([tuple(point) for point in canvas(line)], fill=_GRID, width=_OVERSAMPLING)
    draw.rectangle((0, 0, canvas.width, canvas.top), fill=_BACKGROUND)
    if title:
        text, font = _fit_text(title, round(_text_height(size) * 1.15), canvas.width * 0.94, bold=True)
        draw.text((canvas.width / 2, _text_height(size) * 0.5), text, fill=_INK, font=font, anchor="ma")
    return image


def render_frames(
    keypoints: Any,
    layout: str | dict | SkeletonLayout,
    frame_mask: Any = None,
    title: str | None = None,
    caption_per_frame: Sequence[str | None] | None = None,
    size: tuple[int, int] = (480, 480),
    view: str | tuple[float, float] = "camera",
    up: str = "auto",
    channels: str = "auto",
) -> Iterator[Image.Image]:
    """Draws every frame of a sequence.

    Args:
        keypoints: `(persons, frames, joints, channels)` or `(frames, joints, channels)`; 3D in any length unit or 2D with rows downwards.
        layout: the joint layout, by name or as an object.
        frame_mask: bool `(persons, frames)`; a person is drawn only where it is True. Default: where any coordinate is not 0.
        title: text above all frames, such as the predicted label and its score.
        caption_per_frame: a text for every frame (None or "" for none), such as the action going on in a long take.
        size: width and height of a frame in pixels.
        view: "camera" (as the sensor saw it), "front", "side", "three_quarter" (relative to where the first person looks), "top", or
            `(azimuth, elevation)` in degrees from the camera's place.
        up: "y", "z", "-y", "-z", or "auto": by the direction of the spine. Ignored for 2D.
        channels: "xyz", "xy", "xyc" (2D and confidence), or "auto": 2D when there are two channels.

    Yields:
        RGB pictures; left limbs in cool and right limbs in warm colours, another palette for every person.

    Raises:
        ValueError: for shapes that do not fit the layout, unknown views, captions of another length.
    """
    layout = get_layout(layout)
    scene = _project(keypoints, frame_mask, layout, view, up, channels)
    frames = scene.points.shape[1]
    if caption_per_frame is not None and len(caption_per_frame) != frames:
        raise ValueError(
            f"caption_per_frame has {len(caption_per_frame)} entries but the sequence has {frames} frames"
        )
    if min(size) < 32:
        raise ValueError(f"size must be at least 32 x 32 pixels, got {size}")
    return _frames(scene, title, caption_per_frame, size)


def _frames(
    scene: _Scene, title: str | None, captions: Sequence[str | None] | None, size: tuple[int, int]
) -> Iterator[Image.Image]:
    line = _text_height(size)
    top = round(line * ((2.2 if title else 0.4) + (1.6 if captions is not None else 0)))
    canvas = _Canvas.fit(scene, size, top, bottom=round(line * 1.4))
    backdrop = _backdrop(scene, canvas, title, size)
    frames = scene.points.shape[1]
    small = _font(round(line * 0.62))
    for frame in range(frames):
        image = backdrop.copy()
        draw = ImageDraw.Draw(image)
        _draw_people(draw, scene, frame, canvas)
        if captions is not None and captions[frame]:
            text, font = _fit_text(str(captions[frame]), line, canvas.width * 0.94)
            draw.text((canvas.width / 2, top - line * 1.5), text, fill=_PALETTES[0][1], font=font, anchor="ma")
        base = canvas.height - line * 0.75
        left, right = line * 0.8, canvas.width - line * 3.2
        done = left + (right - left) * (frame + 1) / frames
        draw.line([(left, base), (right, base)], fill=_GRID, width=2 * _OVERSAMPLING)
        draw.line([(left, base), (done, base)], fill=_FAINT, width=2 * _OVERSAMPLING)
        draw.text((canvas.width - line * 0.6, base), f"{frame + 1}/{frames}", fill=_FAINT, font=small, anchor="rm")
        yield image.resize(size, Image.Resampling.BOX)


def _target(path: str | os.PathLike, suffix: str) -> Path:
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise ValueError(f"{path}: the name of this picture must end in {suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def render_gif(
    keypoints: Any,
    layout: str | dict | SkeletonLayout,
    path: str | os.PathLike,
    frame_mask: Any = None,
    title: str | None = None,
    frame_rate: float = 30.0,
    caption_per_frame: Sequence[str | None] | None = None,
    size: tuple[int, int] = (480, 480),
    view: str | tuple[float, float] = "camera",
    up: str = "auto",
    channels: str = "auto",
) -> Path:
    """Writes a sequence as an animated GIF that loops; one picture per frame, played at `frame_rate`.

    Args:
        path: file to write, ending in `.gif`.
        frame_rate: frames per second, at most 50 (browsers slow faster GIFs down).

    The other arguments are those of [`render_frames`].

    Returns:
        The path.

    Raises:
        ValueError: as [`render_frames`], and for another suffix or an impossible frame rate.
    """
    path = _target(path, ".gif")
    if not 0 < frame_rate <= 50:
        raise ValueError(
            f"frame_rate of a GIF must be above 0 and at most 50 frames per second, got {frame_rate}; leave out frames"
        )
    pictures = list(render_frames(keypoints, layout, frame_mask, title, caption_per_frame, size, view, up, channels))
    # one palette for all frames keeps colours steady; a few frames over the whole length see them all
    probe = [pictures[i] for i in np.unique(np.linspace(0, len(pictures) - 1, 5).astype(int))]
    sheet = Image.new("RGB", (size[0], size[1] * len(probe)))
    for number, picture in enumerate(probe):
        sheet.paste(picture, (0, size[1] * number))
    palette = sheet.quantize(128, method=Image.Quantize.MEDIANCUT)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    # GIF counts in hundredths of a second; rounding the moments rather than the durations keeps the speed right
    moments = np.round(np.arange(len(indexed) + 1) * 100 / frame_rate).astype(int) * 10
    durations = [int(duration) for duration in np.diff(moments)]
    indexed[0].save(
        path, save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False, disposal=1
    )
    return path


def render_strip(
    keypoints: Any,
    layout: str | dict | SkeletonLayout,
    path: str | os.PathLike | None = None,
    num_poses: int = 6,
    frame_mask: Any = None,
    title: str | None = None,
    caption_per_frame: Sequence[str | None] | None = None,
    size: tuple[int, int] = (220, 300),
    view: str | tuple[float, float] = "camera",
    up: str = "auto",
    channels: str = "auto",
) -> Image.Image:
    """Draws `num_poses` poses, evenly spread over the sequence, side by side.

    Args:
        path: PNG file to write; None writes nothing.
        num_poses: pictures in the row; a shorter sequence gives one per frame.
        size: width and height of one pose in pixels.

    The other arguments are those of [`render_frames`].

    Returns:
        The picture.
    """
    layout = get_layout(layout)
    target = None if path is None else _target(path, ".png")
    if num_poses < 1:
        raise ValueError(f"num_poses must be at least 1, got {num_poses}")
    array, mask = _as_sequence(keypoints, frame_mask, layout)
    frames = array.shape[1]
    if caption_per_frame is not None and len(caption_per_frame) != frames:
        raise ValueError(
            f"caption_per_frame has {len(caption_per_frame)} entries but the sequence has {frames} frames"
        )
    scene = _project(array, mask, layout, view, up, channels)
    chosen = np.unique(np.linspace(0, frames - 1, num_poses).round().astype(int))
    line = _text_height(size)
    canvas = _Canvas.fit(
        scene, size, top=round(line * (1.7 if caption_per_frame is not None else 0.2)), bottom=round(line * 1.3)
    )
    backdrop = _backdrop(scene, canvas, None, size)
    banner = round(line * 2.0 / _OVERSAMPLING) if title else 0
    strip = Image.new("RGB", (size[0] * len(chosen), size[1] + banner), _BACKGROUND)
    small = _font(round(line * 0.8))
    for place, frame in enumerate(chosen):
        image = backdrop.copy()
        draw = ImageDraw.Draw(image)
        _draw_people(draw, scene, int(frame), canvas)
        if caption_per_frame is not None and caption_per_frame[frame]:
            text, font = _fit_text(str(caption_per_frame[frame]), line, canvas.width * 0.94)
            draw.text((canvas.width / 2, line * 0.2), text, fill=_PALETTES[0][1], font=font, anchor="ma")
        draw.text(
            (canvas.width / 2, canvas.height - line * 0.25), str(frame + 1), fill=_FAINT, font=small, anchor="md"
        )
        strip.paste(image.resize(size, Image.Resampling.BOX), (place * size[0], banner))
    if title:
        text, font = _fit_text(title, round(line * 1.15 / _OVERSAMPLING), strip.width * 0.94, bold=True)
        ImageDraw.Draw(strip).text((strip.width / 2, line * 0.35), text, fill=_INK, font=font, anchor="ma")
    if target is not None:
        strip.save(target)
    return strip


__all__ = ["VIEWS", "render_frames", "render_gif", "render_strip", "vertical_axis"]
