import numpy as np
import pytest

from skeleton_transformers.data.formats import RecordingError, read_gtu_text


def test_reads_25_rows_a_frame(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 25, 3)).round(6)
    values[2] = 0
    path = tmp_path / "movement1.txt"
    path.write_text("\r\n".join(" ".join(map(str, row)) for row in values.reshape(-1, 3)))
    keypoints, frame_mask = read_gtu_text(path)
    np.testing.assert_array_equal(keypoints, values[None].astype(np.float32))
    assert frame_mask.tolist() == [[True, True, False, True]]
    path.write_text("1 2 3\n" * 30)
    with pytest.raises(RecordingError, match="movement1.txt: 30 rows are not whole frames of 25 joints"):
        read_gtu_text(path)
