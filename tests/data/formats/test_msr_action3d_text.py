import numpy as np
import pytest

from skeleton_transformers.data.formats import RecordingError, read_msr_action3d_text


def write(path, values):
    path.write_text("\n".join(" ".join(f"{number:.6f}" for number in row) for row in values.reshape(-1, 4)) + "\n")


def test_reads_coordinates_without_confidence_and_masks_empty_frames(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 20, 4)).round(6)
    values[[0, 3]] = 0
    write(tmp_path / "a01_s01_e01_skeleton3D.txt", values)
    keypoints, frame_mask = read_msr_action3d_text(tmp_path / "a01_s01_e01_skeleton3D.txt")
    assert keypoints.dtype == np.float32 and keypoints.shape == (1, 6, 20, 3)
    np.testing.assert_array_equal(keypoints[0], values[..., :3].astype(np.float32))
    assert frame_mask.tolist() == [[False, True, True, False, True, True]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[:-3],
            r"x.txt: 37 rows are not whole frames of 20 joints; the file is cut off or of another layout",
        ),
        (lambda rows: rows[:5] + ["1 2 3"] + rows[6:], "x.txt, line 6: 3 values, expected 4"),
        (lambda rows: rows[:5] + ["1 2 nan 1"] + rows[6:], "x.txt, line 6: 'nan' is not a finite number"),
        (lambda rows: rows[:5] + ["1 2 3 one"] + rows[6:], "x.txt, line 6: 'one' is not a finite number"),
        (lambda rows: [], "x.txt: the file is empty, expected 20 rows of 4 numbers per frame"),
        (lambda rows: ["0 0 0 1"] * 40, "x.txt: all coordinates of all 2 frames are 0, nobody was tracked"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, change, message):
    path = tmp_path / "x.txt"
    path.write_text("\n".join(change(["0.1 0.2 0.3 1"] * 40)))
    with pytest.raises(RecordingError, match=message):
        read_msr_action3d_text(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecordingError, match="gone.txt: cannot be read"):
        read_msr_action3d_text(tmp_path / "gone.txt")
