"""Arrays of numbers: `.npy`, `.npz` and MATLAB `.mat`.

A recording is an array `(frames, joints, channels)` or `(persons, frames, joints, channels)`; channels are x, y or x, y, z (a fourth is a
confidence). NaN is a missing value; a frame whose coordinates are all 0 is a frame without that person. In MATLAB files of one person the
axes may be in any other order, if only one fits the layout; the files of UTD-MHAD (`d_skel`) are known.

In `.npz` and `.mat` the recording is the array called `keypoints` (or the only one that can be meant, or the one that `item` names). Further
arrays with a meaning: `frame_mask`, `confidence` (or `scores`), `frame_rate` (or `fps`), `joints` (names), `layout` (a name), `units`.
"""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Mapping

import numpy as np

from ...skeletons import SkeletonLayout, get_layout, list_layouts
from .base import FileFormat, ReadOptions, RecordingFile, SkeletonRecording, foreign_parser, make_recording
from .joint_names import canonical_joint_names, layout_of_joints
from .matlab import load_mat
from .utd_mhad_mat import read_utd_mhad_mat


_KEYPOINTS = (
    "keypoints",
    "skeleton",
    "skeletons",
    "joints3d",
    "joints_3d",
    "positions",
    "poses",
    "pose",
    "data",
    "arr_0",
)
_COMPANIONS = (
    "frame_mask",
    "confidence",
    "scores",
    "keypoint_scores",
    "frame_rate",
    "fps",
    "joints",
    "layout",
    "units",
    "label",
)
_LARGEST = 4 * 2**30


def read_npy(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read a `.npy` array.

    Raises:
        RecordingError: if the file is damaged or its array is no recording.
    """
    return _recording(file, {"": _read_npy(file, file.data)}, options)


def _read_npy(file: RecordingFile, data: bytes, name: str = "") -> np.ndarray:
    place = f"array {name!r}" if name else ""
    stream = io.BytesIO(data)
    with foreign_parser(file, ".npy array of numbers"):
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if dtype.hasobject:
            raise file.error("holds Python objects, which are never loaded; save it as an array of numbers", place)
        expected, there = int(np.prod(shape, dtype=object)) * dtype.itemsize, len(data) - stream.tell()
        if expected != there:
            raise file.error(
                f"its head says {expected} bytes of values, but {there} follow; the file is cut off", place
            )
        stream.seek(0)
        return np.load(stream, allow_pickle=False)


def read_npz(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read a `.npz` archive.

    Raises:
        RecordingError: if the file is damaged, holds Python objects, or no array (or none of several) is the recording.
    """
    arrays = {}
    with foreign_parser(file, ".npz archive"), zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        members = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        total = sum(entry.file_size for entry in members)
        if total > _LARGEST:
            raise file.error(f"unpacks to {total / 2**30:.1f} GiB; save one recording per file")
        for entry in members:
            name = entry.filename.removesuffix(".npy")
            arrays[name] = _read_npy(file, archive.read(entry), name)
    return _recording(file, arrays, options)


def read_mat(file: RecordingFile, options: ReadOptions) -> SkeletonRecording:
    """Read a MATLAB file of version 5 to 7.3 (which needs the package `h5py`).

    Raises:
        RecordingError: if the file is damaged, or no array (or none of several) is the recording.
    """
    arrays = load_mat(file)
    if "d_skel" in arrays and options.item is None:
        keypoints, mask = read_utd_mhad_mat(file.path)
        return make_recording(file, keypoints, get_layout("kinect20"), frame_mask=mask, frame_rate=30.0, units="metre")
    return _recording(file, arrays, options, any_order=True)


def _recording(
    file: RecordingFile, arrays: Mapping[str, np.ndarray], options: ReadOptions, any_order: bool = False
) -> SkeletonRecording:
    name = _choose(file, arrays, options.item)
    array = arrays[name]
    place = f"array {name!r}" if name else ""
    if array.dtype.kind not in "fiu":
        raise file.error(f"values of type {array.dtype}, expected numbers", place)
    layout, order = _named_layout(file, arrays, options)
    if any_order and array.ndim == 3:
        array = _in_order(file, array, layout or options.default_layout, place)
    if array.ndim == 3:
        array = array[None]  # (T, V, C) -> (1, T, V, C)
    if array.ndim != 4 or array.shape[3] not in (2, 3, 4) or 0 in array.shape:
        joints = "joints" if layout is None else layout.num_joints
        hint = "; a file is one recording, save each of several by itself" if array.ndim > 4 else ""
        raise file.error(
            f"shape {arrays[name].shape}, expected (frames, {joints}, 2 to 4) or (persons, frames, {joints}, 2 to 4){hint}",
            place,
        )
    if layout is None:
        layout = file.layout_by_count(array.shape[2], options)
    if array.shape[2] != len(order or layout.joints):
        raise file.error(f"shape {array.shape}, but layout {layout.name!r} has {layout.num_joints} joints", place)
    array = array[:, :, order] if order else array
    points = array[..., :3]
    mask, confidence = (
        _companion(arrays, ("frame_mask",)),
        _companion(arrays, ("confidence", "scores", "keypoint_scores")),
    )
    if confidence is not None:
        confidence = _fitting(file, confidence, array.shape[:3], "confidence", order)
    elif array.shape[3] == 4:
        confidence = array[..., 3]
    frame_mask = points.any(axis=(2, 3)) if mask is None else _fitting(file, mask, array.shape[:2], "frame_mask") != 0
    rate = _companion(arrays, ("frame_rate", "fps"))
    units = _companion(arrays, ("units",))
    return make_recording(
        file,
        points,
        layout,
        frame_mask=np.asarray(frame_mask),
        confidence=confidence,
        frame_rate=None if rate is None else float(_fitting(file, rate, (), "frame_rate")),
        units="" if units is None else str(units.ravel()[0]) if units.dtype.kind in "US" and units.size else "",
    )


def _choose(file: RecordingFile, arrays: Mapping[str, np.ndarray], item: str | None) -> str:
    """Name of the array that is the recording."""
    listed = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:8])
    if item is not None:
        if item not in arrays:
            raise file.error(f"no array {item!r}; there are {listed}")
        return item
    candidates = [name for name, array in arrays.items() if array.ndim in (3, 4) and name not in _COMPANIONS]
    named = [name for name in _KEYPOINTS if name in (arrays if "" in arrays else candidates)]
    if "" in arrays:
        return ""
    if named or len(candidates) == 1:
        return (named or candidates)[0]
    raise file.error(
        f"which array is the recording? Name it with item=..., or call it 'keypoints'; there are {listed or 'none'}"
    )


def _companion(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _fitting(
    file: RecordingFile, array: np.ndarray, shape: tuple[int, ...], name: str, order: list[int] | None = None
) -> np.ndarray:
    """A companion array, brought to the shape that belongs to the keypoints."""
    if array.dtype.kind not in "fiub":
        raise file.error(f"values of type {array.dtype}, expected numbers", f"array {name!r}")
    if array.size == int(np.prod(shape)) and [n for n in array.shape if n > 1] == [n for n in shape if n > 1]:
        array = array.reshape(shape)
        return array[:, :, order] if order else array
    raise file.error(f"shape {array.shape}, expected {shape}", f"array {name!r}")


def _named_layout(
    file: RecordingFile, arrays: Mapping[str, np.ndarray], options: ReadOptions
) -> tuple[SkeletonLayout | None, list[int] | None]:
    """The layout that the user or the file names, and where its joints are if that is not their order."""
    names, known = _companion(arrays, ("joints",)), _companion(arrays, ("layout",))
    if options.layout is not None:
        return options.layout, None
    if known is not None and known.dtype.kind == "U" and known.size == 1:
        name = str(known.ravel()[0])
        if name not in list_layouts():
            raise file.error(f"its layout {name!r} is not known here; pass it with layout=...")
        return get_layout(name), None
    if names is not None and names.dtype.kind == "U" and names.ndim == 1 and 0 < len(names) <= 1000:
        return layout_of_joints(canonical_joint_names([str(name) for name in names]), "array")
    return None, None


def _in_order(file: RecordingFile, array: np.ndarray, layout: SkeletonLayout | None, place: str) -> np.ndarray:
    """The axes as (frames, joints, channels): as they are if that is possible, else in the only order that is."""
    counts = {layout.num_joints} if layout is not None else {get_layout(name).num_joints for name in list_layouts()}
    orders = [
        order
        for order in itertools.permutations(range(3))
        if array.shape[order[1]] in counts and array.shape[order[2]] in (2, 3, 4)
    ]
    if (0, 1, 2) in orders:
        return array
    if len(orders) == 1:
        return array.transpose(orders[0])
    if orders:
        raise file.error(
            f"shape {array.shape}: which axis is frames, joints and channels? Save (frames, joints, channels)", place
        )
    wanted = "its layout" if layout is None else f"the {layout.num_joints} joints of {layout.name!r}"
    raise file.error(f"shape {array.shape} has no axes for {wanted} and for 2 to 4 channels", place)


NPY = FileFormat(
    name="npy",
    title="numpy array",
    suffixes=(".npy",),
    layout="yours, or the only known one with so many joints",
    units="yours",
    detect=lambda file: file.head.startswith(b"\x93NUMPY") or file.suffix == ".npy",
    read=read_npy,
)
NPZ = FileFormat(
    name="npz",
    title="numpy archive",
    suffixes=(".npz",),
    layout="by its array `joints` or `layout`, else as npy",
    units="by its array `units`, else yours",
    detect=lambda file: file.head.startswith(b"PK\x03\x04") and b".npy" in file.head or file.suffix == ".npz",
    read=read_npz,
)
MAT = FileFormat(
    name="mat",
    title="MATLAB",
    suffixes=(".mat",),
    layout=NPZ.layout,
    units=NPZ.units,
    detect=lambda file: file.head.startswith(b"MATLAB ") or file.suffix == ".mat",
    read=read_mat,
    extra="mat73",
)


__all__ = ["MAT", "NPY", "NPZ", "read_mat", "read_npy", "read_npz"]
