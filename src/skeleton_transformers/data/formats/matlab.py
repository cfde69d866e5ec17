"""Arrays of MATLAB files: version 5 to 7 by this file, 7.3 with the package `h5py`.

`scipy.io.loadmat` is not used: it ends the whole process, or never returns, on many damaged files. The format is that of MathWorks' "MAT-File
Format": elements with a tag of type and size, padded to 8 bytes, nested in matrices, and deflated one by one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .base import RecordingFile, foreign_parser
from .errors import RecordingError


_LARGEST = 2 * 2**30
_HEADER = 128
_DEEPEST = 20
_MATRIX, _COMPRESSED = 14, 15
# types of elements, and classes of matrices that hold numbers
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}


def load_mat(file: RecordingFile) -> dict[str, np.ndarray]:
    """All arrays of numbers and texts of a file and of its structs, by their names; of equal names the first.

    Raises:
        RecordingError: if the file is damaged, or of version 4, or of version 7.3 without `h5py`.
    """
    if file.head.startswith((b"\x89HDF", b"MATLAB 7.3")):
        return _load_hdf5(file)
    if not file.head.startswith(b"MATLAB 5.0") or file.head[126:128] not in (b"IM", b"MI"):
        raise file.error("not a MATLAB file of version 5 to 7.3; save it with `save(name, variables, '-v7')`")
    order = "<" if file.head[126:128] == b"IM" else ">"
    with foreign_parser(file, "MATLAB file"):
        try:
            return _Reader(order).variables(file.data[_HEADER:])
        except _Damage as error:
            raise file.error(f"damaged MATLAB file ({error}); save it again") from error


class _Damage(ValueError):
    """What is wrong in the file."""


class _Reader:
    """Reads elements in one byte order."""

    def __init__(self, order: str):
        self.order = order
        self.unpacked = 0

    def variables(self, data: bytes) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for kind, content in self.elements(data):
            if kind == _COMPRESSED:
                content = self.inflate(content)
                parts = list(self.elements(content))
                if len(parts) != 1:
                    raise _Damage(f"{len(parts)} matrices where one is deflated")
                kind, content = parts[0]
            if kind != _MATRIX:
                raise _Damage(f"element of type {kind} where a matrix should be")
            name, value = self.matrix(content)
            _collect(found, name, value)
        return found

    def inflate(self, content: bytes) -> bytes:
        worker = zlib.decompressobj()
        data = worker.decompress(content, _LARGEST - self.unpacked)
        self.unpacked += len(data)
        if not worker.eof:
            raise _Damage("its deflated data end early, or are more than 2 GiB")
        return data

    def elements(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Type and content of one element after the other."""
        place = 0
        while place < len(data):
            if len(data) - place < 8:
                raise _Damage("it ends inside a tag")
            kind, size = struct.unpack_from(f"{self.order}II", data, place)
            start, padded = place + 8, size
            if kind >> 16:  # a small element: type, size and up to four bytes in the place of a tag
                kind, size = kind & 0xFFFF, kind >> 16
                start, padded = place + 4, 4
                if size > 4:
                    raise _Damage(f"a small element of {size} bytes")
            elif kind != _COMPRESSED:
                padded = -(-size // 8) * 8
            if start + size > len(data):
                raise _Damage(f"an element of {size} bytes, of which {len(data) - start} are there")
            yield kind, data[start : start + size]
            place = start + padded

    def numbers(self, element: tuple[int, bytes]) -> np.ndarray:
        kind, content = element
        if kind not in _NUMBERS:
            raise _Damage(f"element of type {kind} where numbers should be")
        dtype = np.dtype(self.order + _NUMBERS[kind])
        if len(content) % dtype.itemsize:
            raise _Damage(f"{len(content)} bytes are no whole numbers of {dtype.itemsize}")
        return np.frombuffer(content, dtype=dtype)

    def matrix(self, content: bytes, depth: int = 0) -> tuple[str, Any]:
        """Name and value: an array, a text, a dictionary of a struct, a list of a cell; None for what is none of these."""
        if depth > _DEEPEST:
            raise _Damage("structs nested too deeply")
        if not content:
            return "", None
        parts = list(self.elements(content))
        if len(parts) < 3:
            raise _Damage("a matrix without flags, size and name")
        flags, shape = self.numbers(parts[0]), tuple(self.numbers(parts[1]).tolist())
        name = parts[2][1].decode("ascii", errors="replace")
        if not len(flags) or len(shape) < 2 or min(shape) < 0:
            raise _Damage(f"matrix {name!r} of size {shape}")
        count, kind, values = int(np.prod(shape, dtype=object)), int(flags[0]) & 0xFF, parts[3:]
        if kind in _NUMERIC:
            if not values:
                raise _Damage(f"matrix {name!r} has no values")
            array = self.numbers(values[0])
            if len(array) != count:
                raise _Damage(f"matrix {name!r} of size {shape} has {len(array)} values")
            array = array.reshape(shape, order="F")
            is_complex = int(flags[0]) & 0x800
            return name, array.astype(np.complex128 if is_complex else _NUMERIC[kind])
        if kind == _CHAR:
            return name, self.text(values)
        if kind == _CELL:
            return name, [self.inner(part, depth) for part in values]
        if kind == _STRUCT and len(values) >= 2:
            width, names = int(self.numbers(values[0])[0]), values[1][1]
            if width < 1:
                raise _Damage(f"struct {name!r} with names of {width} letters")
            keys = [
                names[i : i + width].split(b"\0")[0].decode("ascii", "replace") for i in range(0, len(names), width)
            ]
            return name, {
                key: self.inner(part, depth) for key, part in zip(keys, values[2:])
            }  # of an array, the first
        return name, None

    def inner(self, part: tuple[int, bytes], depth: int) -> Any:
        if part[0] != _MATRIX:
            raise _Damage(f"element of type {part[0]} where a matrix should be")
        return self.matrix(part[1], depth + 1)[1]

    def text(self, values: list[tuple[int, bytes]]) -> str:
        if not values:
            return ""
        kind, content = values[0]
        if kind in _TEXT:
            return content.decode(_TEXT[kind], errors="replace")
        return "".join(chr(code) if 0 <= code < 0x110000 else "?" for code in self.numbers(values[0]).astype(np.int64))


def _collect(found: dict[str, np.ndarray], name: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _collect(found, key, inner)
    elif isinstance(value, np.ndarray):
        found.setdefault(name, value)
    elif isinstance(value, str) or (isinstance(value, list) and value and all(isinstance(v, str) for v in value)):
        found.setdefault(name, np.array(value, dtype=np.str_))


def _load_hdf5(file: RecordingFile) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise file.error(
            "a MATLAB file of version 7.3; save it with `save(name, variables, '-v7')`, or install h5py with "
            "`pip install 'skeleton_transformers[mat73]'`"
        ) from error

    arrays: dict[str, np.ndarray] = {}
    with foreign_parser(file, "MATLAB 7.3 file"), h5py.File(file.path, "r") as content:

        def collect(name: str, entry: Any) -> None:
            if not isinstance(entry, h5py.Dataset) or entry.dtype.kind not in "fiub" or name.startswith("#"):
                return
            if entry.size * entry.dtype.itemsize > _LARGEST:
                raise RecordingError(f"{file.path}, array {name!r}: more than {_LARGEST >> 30} GiB")
            value = np.asarray(entry[()]).T  # MATLAB counts axes the other way round
            if entry.attrs.get("MATLAB_class") == b"char":
                value = np.array("".join(map(chr, value.ravel().tolist())), dtype=np.str_)
            arrays.setdefault(name.rsplit("/", 1)[-1], value)

        content.visititems(collect)
    return arrays


__all__ = ["load_mat"]
