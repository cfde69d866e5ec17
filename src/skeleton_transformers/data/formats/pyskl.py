"""Annotation pickles of PYSKL and MMAction2: many recordings in one file.

`{"split": {name: [ids]}, "annotations": [{"frame_dir": id, "label": 3, "keypoint": (persons, frames, joints, 2 or 3), "keypoint_score": (persons,
frames, joints), "img_shape": (height, width), "total_frames": n}, ...]}`, or the list alone.

Pickles can run any code, so none is executed here: only arrays, lists, dictionaries, text and numbers are rebuilt, by functions of this file,
and anything else is refused by name.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np

from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, foreign_parser, make_recording
from .errors import RecordingError


_LISTED = 5


class _Type:
    """Stands for `numpy.dtype`, of which only plain numbers and text are rebuilt."""

    def __init__(self, text: Any, *_: Any):
        text = text.decode("ascii") if isinstance(text, bytes) else str(text)
        if text.lstrip("<>|=")[:1] not in "biufUS" or len(text) > 8:
            raise RecordingError(f"an array of type {text!r}; only arrays of numbers or text are loaded")
        self.value = np.dtype(text)

    def __setstate__(self, state: tuple) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else str(state[1])
        if order == ">":
            self.value = self.value.newbyteorder(">")
        if self.value.kind in "US" and self.value.itemsize == 0:
            width = int(state[5]) // (4 if self.value.kind == "U" else 1)
            self.value = np.dtype(f"{order if order in '<>' else '='}{self.value.kind}{width}")


class _Array:
    """Stands for `numpy.ndarray`; `value` is the array once its state is there."""

    value: np.ndarray | None = None

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, data = state
        if isinstance(data, str):
            data = data.encode("latin-1")
        self.value = _array(data, kind, shape, "F" if fortran else "C")


def _array(data: Any, kind: _Type, shape: Any, order: str = "C") -> np.ndarray:
    return np.frombuffer(bytes(data), dtype=kind.value).reshape(tuple(shape), order="F" if order == "F" else "C")


def _scalar(kind: _Type, data: Any) -> Any:
    data = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(bytes(data), dtype=kind.value)[0]


def _encode(text: str, encoding: str) -> bytes:
    return str(text).encode("latin-1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", _Array), ("scalar", _scalar))
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise RecordingError(
                f"refers to {module}.{name}, which is refused: only arrays, lists and dictionaries are loaded"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise RecordingError("refers to an object outside of the file, which is refused")


def _plain(value: Any, depth: int = 0) -> Any:
    """The value with arrays in the place of their stand-ins."""
    if depth > 20:
        raise RecordingError("lists nested too deeply")
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, depth + 1) for inner in value]
    return value


def load_pickle(file: RecordingFile) -> Any:
    """The content of a pickle of arrays, lists, dictionaries, text and numbers. No code of the file runs.

    Raises:
        RecordingError: if it holds anything else, which the message names, or is damaged.
    """
    with foreign_parser(file, "pickle"):
        try:
            return _plain(_Unpickler(io.BytesIO(file.data)).load())
        except RecordingError as error:
            raise file.error(str(error)) from error


def load_annotations(file: RecordingFile) -> tuple[list[dict], dict[str, list[str]]]:
    """All annotations of a file, and the names of the recordings of each split.

    Raises:
        RecordingError: if this is no such file.
    """
    content = load_pickle(file)
    split = content.get("split", {}) if isinstance(content, dict) else {}
    annotations = content.get("annotations") if isinstance(content, dict) else content
    if (
        not isinstance(annotations, list)
        or not annotations
        or not all(isinstance(entry, dict) for entry in annotations)
    ):
        raise file.error("no annotations of PYSKL: expected a list of dictionaries under 'annotations'")
    return annotations, split if isinstance(split, dict) else {}


def read_pyskl(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read the annotation that `item` names by its `frame_dir` or number, or the only one.

    Raises:
        RecordingError: if the file is damaged or holds what is refused, there is no such annotation, or its arrays do not fit.
    """
    annotations, _ = load_annotations(file)
    names = [str(entry.get("frame_dir", entry.get("filename", number))) for number, entry in enumerate(annotations)]
    if options.item is None and len(annotations) > 1:
        listed = ", ".join(names[:_LISTED])
        raise file.error(f"holds {len(annotations)} recordings; choose one with item=..., for example one of {listed}")
    item = names[0] if options.item is None else options.item
    if item not in names and not (item.isdigit() and int(item) < len(names)):
        raise file.error(f"no recording {item!r} among its {len(names)}: {', '.join(names[:_LISTED])}, ...")
    return annotation_recording(file, annotations[names.index(item) if item in names else int(item)], item, options)


def annotation_recording(file: RecordingFile, entry: dict, name: str, options: ReadOptions) -> SkeletonRecording:
    """The recording of one annotation; flat coordinates become fractions of the image."""
    place = f"recording {name!r}"
    keypoints = entry.get("keypoint")
    if not isinstance(keypoints, np.ndarray) or keypoints.ndim != 4 or keypoints.dtype.kind not in "fiu":
        raise file.error("'keypoint' is no array (persons, frames, joints, channels)", place)
    keypoints = keypoints.astype(np.float64)
    confidence = entry.get("keypoint_score")
    if confidence is None and keypoints.shape[-1] == 3 and "img_shape" in entry:
        confidence, keypoints = keypoints[..., 2], keypoints[..., :2]
    if confidence is not None and (not isinstance(confidence, np.ndarray) or confidence.shape != keypoints.shape[:3]):
        raise file.error(f"'keypoint_score' does not have the shape {keypoints.shape[:3]} of 'keypoint'", place)
    flat = keypoints.shape[-1] == 2
    if confidence is not None:
        confidence = confidence.astype(np.float64)
        keypoints = np.where(confidence[..., None] > 0, keypoints, np.nan)
    flat_layouts, layouts = ("coco17", "openpose18", "halpe26", "openpose25"), ("ntu25", "kinect20", "h36m17")
    layout = file.layout_by_count(keypoints.shape[2], options, *(flat_layouts if flat else layouts))
    units = "pixel" if flat else "metre" if layout.name == "ntu25" else ""
    size = entry.get("img_shape", entry.get("original_shape"))
    if (
        flat
        and isinstance(size, list)
        and len(size) == 2
        and all(isinstance(n, (int, np.integer)) and n > 0 for n in size)
    ):
        if options.image_size is None:
            keypoints /= np.array([size[1], size[0]], dtype=np.float64)  # (height, width)
            units = "image fraction"
    label = entry.get("label", -1)
    return make_recording(
        file,
        keypoints,
        layout,
        frame_mask=np.asarray(np.nan_to_num(keypoints).any(axis=(2, 3))),
        confidence=confidence,
        units=units,
        label=int(label) if isinstance(label, (int, np.integer)) else -1,
    )


def detect(file: RecordingFile) -> bool:
    return (file.head[:1] == b"\x80" and file.head[1:2] in b"\2\3\4\5" and len(file.head) > 2) or file.suffix in (
        ".pkl",
        ".pickle",
    )


FORMAT = FileFormat(
    name="pyskl-pickle",
    title="PYSKL and MMAction2 annotations",
    suffixes=(".pkl",),
    layout="coco17, ntu25, openpose18, h36m17",
    units="image fraction, or metre for ntu25",
    detect=detect,
    read=read_pyskl,
)


__all__ = ["FORMAT", "annotation_recording", "load_annotations", "load_pickle", "read_pyskl"]
