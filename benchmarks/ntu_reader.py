"""Speed of the NTU RGB+D reader against a plain parser that goes line by line; prints JSON.

    python benchmarks/ntu_reader.py [--file S001C001P001R001A001.skeleton] [--repeats 30]

Without a file it writes one of a usual size. All parsers give the same arrays, which is checked. A ratio is that of the fastest of
`--repeats` runs each, taken in turns; `ratio_frugal` is against a parser that keeps no value it does not need.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from skeleton_transformers.data.formats import read_ntu_skeleton


BODY_FIELDS = "id edges left_confidence left_state right_confidence right_state restricted lean_x lean_y state".split()
JOINT_FIELDS = "x y z depth_x depth_y colour_x colour_y turn_w turn_x turn_y turn_z state".split()


def read_line_by_line(path: Path) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Ids, coordinates and tracking states by way of a dictionary of all values per line, the plain way to read such a file."""
    bodies = []
    with open(path) as file:
        for _ in range(int(file.readline())):
            for _ in range(int(file.readline())):
                body: dict = dict(zip(BODY_FIELDS, file.readline().split(), strict=True))
                body["joints"] = []
                for _ in range(int(file.readline())):
                    values = [float(value) for value in file.readline().split()]
                    body["joints"].append(dict(zip(JOINT_FIELDS, values, strict=True)))
                bodies.append(body)
    keypoints = np.zeros((len(bodies), 25, 3), dtype=np.float32)
    states = np.zeros((len(bodies), 25), dtype=np.int8)
    for number, body in enumerate(bodies):
        for joint, values in enumerate(body["joints"]):
            keypoints[number, joint] = values["x"], values["y"], values["z"]
            states[number, joint] = values["state"]
    return [int(body["id"]) for body in bodies], keypoints, states


def read_line_by_line_frugally(path: Path) -> tuple[list[int], np.ndarray, np.ndarray]:
    """The same with lists in place of dictionaries and one array made at the end."""
    body_ids, keypoints, states = [], [], []
    with open(path) as file:
        for _ in range(int(file.readline())):
            for _ in range(int(file.readline())):
                body_ids.append(int(file.readline().split()[0]))
                joints = [[float(value) for value in file.readline().split()] for _ in range(int(file.readline()))]
                keypoints.append([joint[:3] for joint in joints])
                states.append([joint[11] for joint in joints])
    return body_ids, np.array(keypoints, dtype=np.float32), np.array(states, dtype=np.int8)


def write_recording(path: Path, num_frames: int, seed: int = 0) -> None:
    """A file of one body with random numbers, of the form the recorder writes."""
    rng = np.random.default_rng(seed)
    lines = [str(num_frames)]
    for _ in range(num_frames):
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
        for values in rng.normal(0, 1, (25, 11)):
            lines.append(" ".join(f"{value:.7g}" for value in values) + " 2")
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, help="a raw .skeleton file")
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file
        if path is None:
            path = Path(folder) / "recording.skeleton"
            write_recording(path, 100)
        recording = read_ntu_skeleton(path)
        readers = {
            "reader": read_ntu_skeleton,
            "line_by_line": read_line_by_line,
            "line_by_line_frugal": read_line_by_line_frugally,
        }
        for read in (read_line_by_line, read_line_by_line_frugally):
            body_ids, keypoints, states = read(path)
            assert list(recording.body_ids) == body_ids
            assert np.array_equal(recording.keypoints, keypoints) and np.array_equal(recording.tracking_states, states)
        best = dict.fromkeys(readers, float("inf"))
        for _ in range(arguments.repeats):
            for name, read in readers.items():
                start = time.perf_counter()
                read(path)
                best[name] = min(best[name], time.perf_counter() - start)
        result = {
            "file": path.name,
            "frames": recording.num_frames,
            "bytes": path.stat().st_size,
            **{f"{name}_ms": round(seconds * 1e3, 3) for name, seconds in best.items()},
            "ratio": round(best["line_by_line"] / best["reader"], 2),
            "ratio_frugal": round(best["line_by_line_frugal"] / best["reader"], 2),
            "python": platform.python_version(),
            "numpy": np.__version__,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
