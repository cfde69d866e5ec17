"""Memory and time of preparing a corpus of NTU RGB+D, extrapolated to all of its files; prints JSON.

    python benchmarks/preparation.py [--files 1500] [--frames 84] [--workers 2] [--parquet]

Prepares made-up trees of half of the files and of all of them, each by the command in a process of its own. Memory is given three
ways, as the highest value seen: of the largest process; of all processes at once (proportional shares, so that common pages count
once); and of the heaps of all processes alone, without the pages of files that are mapped, which the system takes back when it
needs them. What grows with the number of files is extrapolated in a straight line to the 114,480 files of NTU RGB+D 120. The
recordings have 84 frames in the mean, and every fifth has two people. A line needs the same number of busy processes at both ends: with
`--parquet` half of the files must fill a file of 256 MiB for every worker (24,000 files for two), which is checked.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np


NTU120_FILES = 114_480


def write_tree(folder: Path, count: int, frames: int, seed: int = 0) -> None:
    """Files of the form the recorder writes, with names of NTU RGB+D 60, all of them different."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    # Numbers are formatted once; files differ in which of them they hold, which is a hundred times faster.
    joints = [" ".join(f"{v:.7g}" for v in values) + " 2" for values in rng.normal(0, 1, (1009, 11))]
    blocks = ["\n".join(joints[start : start + 25]) for start in range(0, 984)]
    for number in range(count):
        setup, rest = divmod(number, 3 * 40 * 2)
        camera, rest = divmod(rest, 40 * 2)
        person, take = divmod(rest, 2)
        name = f"S{setup % 17 + 1:03d}C{camera + 1:03d}P{person + 1:03d}R{take + 1:03d}A{setup // 17 % 60 + 1:03d}"
        bodies = 2 if number % 5 == 4 else 1
        length = max(1, frames // 2 + number * 7 % (frames + 1))
        lines = [str(length)]
        for frame in range(length):
            lines.append(str(bodies))
            for body in range(bodies):
                lines += [f"7205759403793110{body} 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
                lines.append(blocks[(number * 31 + frame * 7 + body * 13) % len(blocks)])
        (folder / f"{name}.skeleton").write_text("\n".join(lines) + "\n")


def memory_of(process_id: int) -> tuple[int, int, int]:
    """Bytes of a process and its children: the largest one, all together (proportional set size), and the heaps of all."""
    largest = total = heap = 0
    waiting = [process_id]
    while waiting:
        number = waiting.pop()
        try:
            children = [
                child for file in Path(f"/proc/{number}/task").glob("*/children") for child in file.read_text().split()
            ]
            rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
        except OSError:  # it, or a thread of it, has ended
            continue
        waiting += [int(child) for child in children]
        values = {line.split(":")[0]: line.split()[1] for line in rollup.splitlines()[1:] if ":" in line}
        largest = max(largest, int(values["Rss"]) * 1024)
        total += int(values["Pss"]) * 1024
        heap += int(values["Pss_Anon"]) * 1024
    return largest, total, heap


def measure(raw: Path, out: Path, workers: int, parquet: bool) -> dict:
    """Prepare a tree by the command of the package."""
    code = "from skeleton_transformers.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "prepare",
        "ntu60",
        str(raw),
        str(out),
        "--workers",
        str(workers),
        "--quiet",
    ]
    if parquet:
        command += ["--parquet", f"{out}-parquet"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peaks = [0, 0, 0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            for place, value in enumerate(memory_of(process.pid)):
                peaks[place] = max(peaks[place], value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    if code:
        sys.exit(f"prepare ended with {code}")
    if parquet and len(written := list(Path(f"{out}-parquet", "data").iterdir())) < workers:
        sys.exit(
            f"{len(written)} parquet files for {workers} workers: no straight line goes through this; take more --files"
        )
    return {"seconds": seconds, "largest_process": peaks[0], "all_processes": peaks[1], "heaps": peaks[2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1500)
    parser.add_argument("--frames", type=int, default=84)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parquet", action="store_true")
    args = parser.parse_args()
    counts = (args.files // 2, args.files)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            raw = Path(folder) / f"raw{count}"
            write_tree(raw, count, args.frames)
            size = sum(file.stat().st_size for file in raw.iterdir())
            runs.append(
                {
                    "files": count,
                    "bytes": size,
                    **measure(raw, Path(folder) / f"store{count}", args.workers, args.parquet),
                }
            )

    def extrapolated(key: str) -> float:
        slope = (runs[1][key] - runs[0][key]) / (counts[1] - counts[0])
        return runs[1][key] + max(slope, 0) * (NTU120_FILES - counts[1])

    gigabyte = 1 << 30
    print(
        json.dumps(
            {
                "benchmark": "preparation",
                **vars(args),
                "runs": [
                    {
                        "files": run["files"],
                        "raw_megabytes": round(run["bytes"] / 1e6, 1),
                        "seconds": round(run["seconds"], 2),
                        "largest_process_gib": round(run["largest_process"] / gigabyte, 3),
                        "all_processes_gib": round(run["all_processes"] / gigabyte, 3),
                        "heaps_gib": round(run["heaps"] / gigabyte, 3),
                    }
                    for run in runs
                ],
                "files_per_second": round((counts[1] - counts[0]) / (runs[1]["seconds"] - runs[0]["seconds"]), 1),
                f"extrapolated_to_{NTU120_FILES}": {
                    "minutes": round(extrapolated("seconds") / 60, 1),
                    "largest_process_gib": round(extrapolated("largest_process") / gigabyte, 3),
                    "all_processes_gib": round(extrapolated("all_processes") / gigabyte, 3),
                    "heaps_gib": round(extrapolated("heaps") / gigabyte, 3),
                },
                "python": platform.python_version(),
                "numpy": np.__version__,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
