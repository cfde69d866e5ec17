import numpy as np
import pytest

from skeleton_transformers.data.formats import RecordingError, read_ntu_skeleton
from skeleton_transformers.data.formats.ntu_skeleton import _read_careful, _read_regular


HEADER = "72057594037931101 0 1 1 1 1 0 0.02764709 0.05745083 2"


def recording_lines(rng, bodies_per_frame, states=(2,)):
    """Lines of a file, and what they say: (frame, slot, id, keypoints, states) of every body."""
    lines, truth = [str(len(bodies_per_frame))], []
    for frame, bodies in enumerate(bodies_per_frame):
        lines.append(str(len(bodies)))
        for slot, body in enumerate(bodies):
            lines += [f"{body} 0 1 1 1 1 0 -0.02764709 7.063142E-05 2", "25"]
            values = rng.normal(size=(25, 11)).astype(np.float32)
            chosen = rng.choice(states, 25)
            lines += [" ".join(map(str, row)) + f" {state}" for row, state in zip(values.tolist(), chosen)]
            truth.append((frame, slot, body, values[:, :3], chosen))
    return lines, truth


def check(recording, truth, num_frames):
    assert recording.num_frames == num_frames
    assert recording.frames.tolist() == [t[0] for t in truth] and recording.slots.tolist() == [t[1] for t in truth]
    assert recording.body_ids == tuple(t[2] for t in truth)
    assert recording.keypoints.dtype == np.float32 and recording.keypoints.shape == (len(truth), 25, 3)
    for number, (_, _, _, keypoints, states) in enumerate(truth):
        np.testing.assert_array_equal(recording.keypoints[number], keypoints)
        np.testing.assert_array_equal(recording.tracking_states[number], states)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "end"])
def test_reads_what_was_written(tmp_path, ending, last):
    # ids of 17 and more digits that float64 cannot tell apart
    ids = (72057594037931101, 72057594037931102, 2**64 - 1)
    lines, truth = recording_lines(
        np.random.default_rng(1), [[], [ids[0]], [ids[1], ids[0], ids[2]], [], [ids[1], ids[0]]], states=(0, 1, 2)
    )
    path = tmp_path / "S001C001P001R001A050.skeleton"
    path.write_bytes((ending.join(lines) + (ending if last else "")).encode())
    check(read_ntu_skeleton(path), truth, 5)


def test_both_ways_of_reading_agree_on_untidy_files(tmp_path):
    lines, truth = recording_lines(np.random.default_rng(2), [[1, 2], [], [2]])
    tidy = "\n".join(lines) + "\n"
    untidy = "\n".join(line.replace(" ", "  ", 3) + " " for line in lines) + "\n\n"
    assert _read_regular(tidy.encode(), 25) is not None and _read_regular(untidy.encode(), 25) is None
    for text in (tidy, untidy):
        path = tmp_path / "x.skeleton"
        path.write_text(text)
        check(read_ntu_skeleton(path), truth, 3)
        check(_read_careful(path, text.encode(), 25), truth, 3)


def test_a_file_without_anybody(tmp_path):
    path = tmp_path / "x.skeleton"
    path.write_text("3\n0\n0\n0\n")
    check(read_ntu_skeleton(path), [], 3)


def _joint_line(changes):
    values = ["0.1"] * 11 + ["2"]
    for place, value in changes.items():
        values[place] = value
    return " ".join(values)


def _file(bodies="1", joints="25", header=HEADER, line=None, frames="2"):
    first = ["1", HEADER, "25"] + [_joint_line({})] * 25
    second = [bodies, header, joints] + [_joint_line({})] * 24 + [line if line is not None else _joint_line({})]
    return "\n".join([frames, *first, *second]) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the number of frames; it is cut off"),
        ("hello", "line 1: the number of frames is 'hello', expected a whole number from 0"),
        ("a b", r"line 1: 2 values, expected 1 \(the number of frames\)"),
        (_file(bodies="x"), r"line 30 \(frame 1\): the number of bodies is 'x'"),
        (_file(bodies="-1"), r"line 30 \(frame 1\): the number of bodies is '-1'"),
        (_file(header=HEADER[:-2]), r"line 31 \(frame 1\): 9 values, expected 10 \(id and state of a body\)"),
        (_file(header="7.2e16" + HEADER[17:]), r"line 31 \(frame 1\): the id of a body is '7.2e16'"),
        (_file(joints="20"), r"line 32 \(frame 1\): 20 joints, expected 25"),
        (
            _file(line=_joint_line({1: "nan"})),
            r"line 57 \(frame 1\): coordinate 'nan' of joint 24 is not a finite number",
        ),
        (_file(line=_joint_line({0: "-inf"})), "coordinate '-inf' of joint 24"),
        (_file(line=_joint_line({2: "0,5"})), "coordinate '0,5' of joint 24"),
        (_file(line=_joint_line({11: "3"})), "tracking state of joint 24 is 3, expected 0, 1 or 2"),
        (_file(line=_joint_line({11: "2.5"})), "tracking state is '2.5', expected a whole number"),
        (_file(line="0.1 0.2 0.3"), r"line 57 \(frame 1\): 3 values, expected 12 \(joint 24\)"),
        (_file(frames="3"), r"\(frame 2\): the file ends after line 57, expected the number of bodies; it is cut off"),
        (_file(frames="1"), "line 30: the file goes on after its 1 frames; the number of frames in line 1 is wrong"),
        (_file()[:-40], r"line 57 \(frame 1\): \d+ values, expected 12"),
        (
            "\n".join(_file().split("\n")[:40]),
            r"\(frame 1\): the file ends after line 40, expected joint 8; it is cut off",
        ),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, text, message):
    path = tmp_path / "S001C001P001R001A001.skeleton"
    path.write_text(text)
    with pytest.raises(RecordingError, match="S001C001P001R001A001.skeleton.*" + message):
        read_ntu_skeleton(path)


def test_a_value_moved_to_the_next_line_is_not_overlooked(tmp_path):
    lines = _file().split("\n")
    lines[40] += " 0.1"  # a joint line of 13 values and one of 11: as many values in all
    lines[41] = lines[41].split(" ", 1)[1]
    path = tmp_path / "x.skeleton"
    path.write_text("\n".join(lines))
    with pytest.raises(RecordingError, match=r"line 41 \(frame 1\): 13 values, expected 12"):
        read_ntu_skeleton(path)
    lines = _file().split("\n")
    lines[31 - 1] += " 0"  # the same with a line of a body
    lines[41] = lines[41].split(" ", 1)[1]
    path.write_text("\n".join(lines))
    with pytest.raises(RecordingError, match=r"line 31 \(frame 1\): 11 values, expected 10"):
        read_ntu_skeleton(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecordingError, match="gone.skeleton: cannot be read .*No such file"):
        read_ntu_skeleton(tmp_path / "gone.skeleton")


def test_real_recordings(real_data):
    frames = []
    for action in range(1, 6):
        path = real_data / "ntu-samples" / f"S001C001P001R001A{action:03d}.skeleton"
        recording = read_ntu_skeleton(path)
        assert _read_regular(path.read_bytes().replace(b"\r\n", b"\n"), 25) is not None  # the fast way was taken
        careful = _read_careful(path, path.read_bytes(), 25)
        np.testing.assert_array_equal(recording.keypoints, careful.keypoints)
        assert recording.body_ids == careful.body_ids
        frames.append(recording.num_frames)
    assert frames == [103, 158, 104, 99, 54]
    first = read_ntu_skeleton(real_data / "ntu-samples" / "S001C001P001R001A001.skeleton")
    assert set(first.body_ids) == {72057594037931101}
    np.testing.assert_allclose(first.keypoints[0, 0], [0.2181153, 0.1725972, 3.785547], rtol=1e-6)
