import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from skeleton_transformers.cli.main import app
from skeleton_transformers.data.motion_synthesis import reference_motion
from skeleton_transformers.visualization import render_augmentations
from skeleton_transformers.visualization.gallery import list_operators


SMALL = {"size": (60, 80), "poses": 3}


def test_every_operator_is_a_row_that_differs_from_what_was_before(tmp_path):
    motion = reference_motion("throw", num_frames=40)
    names = [name for kind in list_operators().values() for name in kind]
    picture = render_augmentations(motion, "ntu25", tmp_path / "x.png", drop_probability=0.5, **SMALL)
    same = render_augmentations(motion, "ntu25", None, operators=["scale"], scale_range=(1, 1), **SMALL)
    assert picture.width == 180 and picture.height == len(names) * same.height
    rows = np.asarray(picture).reshape(len(names), same.height, 180, 3)
    assert all((row != np.asarray(same))[20:].any() for row in rows)
    with Image.open(tmp_path / "x.png") as written:
        assert written.size == picture.size


def test_flat_recordings_show_what_fits_them():
    points = np.random.default_rng(0).random((1, 20, 17, 2))
    rows = render_augmentations(points, "coco17", **SMALL).height
    one = render_augmentations(points, "coco17", operators=["flip"], **SMALL).height
    assert rows == one * (sum(map(len, list_operators().values())) - 2)


def test_the_command_draws_augmentations(tmp_path):
    np.save(tmp_path / "throw.npy", reference_motion("throw", num_frames=20))

    def run(*arguments):
        return CliRunner().invoke(app, ["render", str(tmp_path / "throw.npy"), "--layout", "ntu25", *arguments])

    result = run(str(tmp_path / "x.png"), "--augmentation", "shear", "--augmentation", "crop")
    assert result.exit_code == 0 and (tmp_path / "x.png").is_file(), result.output
    result = run(str(tmp_path / "x.gif"), "--augmentation", "shear")
    assert result.exit_code == 1 and "must end in .png" in result.output.replace("\n", "")
    result = run(str(tmp_path / "x.png"), "--augmentation", "bend")
    assert result.exit_code == 1 and "unknown operator 'bend'" in result.output.replace("\n", "")


def test_messages():
    with pytest.raises(ValueError, match="layout 'coco17' has 17"):
        render_augmentations(np.ones((1, 5, 25, 3)), "coco17")
