"""Pictures of skeletons: right number of frames, right size, right persons, right colours."""

import numpy as np
import pytest
from PIL import Image, ImageChops
from typer import Typer
from typer.testing import CliRunner

from skeleton_transformers.cli.render import render as render_command
from skeleton_transformers.data.motion_synthesis import SYNTHETIC_ACTIONS, synthesize_sequence
from skeleton_transformers.data.storage import SkeletonStoreWriter
from skeleton_transformers.skeletons import get_layout
from skeleton_transformers.visualization import render_frames, render_gif, render_strip
from skeleton_transformers.visualization.rendering import vertical_axis


LAYOUT = get_layout("ntu25")
SIZE = (160, 160)


@pytest.fixture(scope="module")
def pair():
    """A clean interaction of two persons, 12 frames."""
    sample = synthesize_sequence(SYNTHETIC_ACTIONS.index("hand_over"), noise=False)
    return sample.keypoints[:, 5:53:4]


def ink(image, top=0.0, bottom=0.86):
    """Number of pixels that are neither background nor grid nor text, between two heights of the picture."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    rows = pixels[round(top * len(pixels)) : round(bottom * len(pixels))]
    return int((np.ptp(rows, axis=-1) > 25).sum())


def differ(first, second):
    return ImageChops.difference(first.convert("RGB"), second.convert("RGB")).getbbox() is not None


def test_gif_has_every_frame_and_the_size(pair, tmp_path):
    path = render_gif(pair, "ntu25", tmp_path / "deep" / "a.gif", title="hand over 93 %", frame_rate=30, size=SIZE)
    with Image.open(path) as picture:
        assert picture.n_frames == pair.shape[1]
        assert picture.size == SIZE
        assert picture.info["loop"] == 0
        durations, frames = [], []
        for number in range(picture.n_frames):
            picture.seek(number)
            durations.append(picture.info["duration"])
            frames.append(picture.convert("RGB"))
    assert sum(durations) == pytest.approx(1000 * len(frames) / 30, abs=10)
    assert all(differ(first, second) for first, second in zip(frames, frames[1:]))


def test_a_still_person_keeps_its_frames_too(pair, tmp_path):
    still = np.repeat(pair[:1, :1], 5, axis=1)
    path = render_gif(still, LAYOUT, tmp_path / "still.gif", size=SIZE)
    with Image.open(path) as picture:
        assert picture.n_frames == 5


def test_masked_person_is_not_drawn(pair):
    mask = np.ones(pair.shape[:2], dtype=bool)
    mask[:, 3] = False
    mask[1, 4] = False
    frames = list(render_frames(pair, LAYOUT, frame_mask=mask, size=SIZE))
    assert ink(frames[3]) == 0
    assert 0.3 * ink(frames[2]) < ink(frames[4]) < 0.75 * ink(frames[2])


def test_zero_frames_count_as_absent_without_a_mask(pair):
    gap = pair.copy()
    gap[:, 2] = 0
    frames = list(render_frames(gap, LAYOUT, size=SIZE))
    assert ink(frames[2]) == 0 and ink(frames[1]) > 100


def test_nobody_at_all_gives_empty_pictures():
    frames = list(render_frames(np.zeros((1, 2, 25, 3)), LAYOUT, size=SIZE))
    assert len(frames) == 2 and ink(frames[0]) == 0


def test_left_is_cool_right_is_warm_and_persons_differ(pair):
    def colours(keypoints, mask):
        (image,) = render_frames(keypoints[:, :1], LAYOUT, frame_mask=mask, size=(300, 300))
        return {colour for count, colour in image.getcolors(100000) if count > 20}

    alone = colours(pair, np.array([[True], [False]]))
    other = colours(pair, np.array([[False], [True]]))
    assert (33, 113, 181) in alone and (217, 95, 2) in alone
    assert (27, 140, 115) in other and (197, 27, 110) in other
    assert not {(33, 113, 181), (217, 95, 2)} & other


def test_left_arm_of_a_facing_person_is_on_the_right_of_the_picture():
    sample = synthesize_sequence(SYNTHETIC_ACTIONS.index("drink"), noise=False)
    (image,) = render_frames(sample.keypoints[:, :1], LAYOUT, view="front", size=(300, 300))
    pixels = np.asarray(image).astype(int)
    columns = {
        side: np.flatnonzero((np.abs(pixels - colour).sum(axis=-1) < 12).any(axis=0)).mean()
        for side, colour in (("left", (66, 146, 198)), ("right", (241, 135, 45)))
    }
    assert columns["left"] > columns["right"]


@pytest.mark.parametrize("view", ["camera", "front", "side", "three_quarter", "top", (20, -10)])
def test_every_view_shows_everybody_inside_the_picture(pair, view):
    (image,) = render_frames(pair[:, :1], LAYOUT, view=view, size=SIZE)
    assert ink(image) > 150
    pixels = np.asarray(image).astype(int)
    border = np.concatenate([pixels[0], pixels[:, 0], pixels[:, -1]])
    assert np.ptp(border, axis=-1).max() <= 25


def test_views_differ(pair):
    pictures = [next(render_frames(pair, LAYOUT, view=view, size=SIZE)) for view in ("front", "side", "top")]
    assert differ(pictures[0], pictures[1]) and differ(pictures[1], pictures[2])


def test_up_is_found_from_the_spine(pair):
    mask = np.ones(pair.shape[:2], dtype=bool)
    assert vertical_axis(pair, mask, LAYOUT) == (1, 1)
    x, y, z = np.moveaxis(pair, -1, 0)
    lying = np.stack([x, -z, y], axis=-1)  # the same scene with z up, people facing +y as before -z
    assert vertical_axis(lying, mask, LAYOUT) == (2, 1)
    assert vertical_axis(-pair, mask, LAYOUT) == (1, -1)
    y_up = next(render_frames(pair, LAYOUT, size=SIZE))
    z_up = next(render_frames(lying, LAYOUT, size=SIZE))
    assert np.abs(np.asarray(y_up).astype(int) - np.asarray(z_up)).mean() < 1.0
    forced = next(render_frames(lying, LAYOUT, size=SIZE, up="y"))
    assert differ(z_up, forced)


def test_title_and_captions_are_written(pair):
    plain = next(render_frames(pair, LAYOUT, size=SIZE))
    titled = next(render_frames(pair, LAYOUT, size=SIZE, title="wave 99.1 %"))
    assert np.asarray(titled)[:14].min() < 120 < np.asarray(plain)[:5].min()
    captions = [None] * 6 + ["hand over"] * 6
    captioned = list(render_frames(pair, LAYOUT, size=SIZE, title="take", caption_per_frame=captions))
    assert ink(captioned[0], 0.0, 0.22) < ink(captioned[8], 0.0, 0.22)
    long = next(render_frames(pair, LAYOUT, size=SIZE, title="a very long title that cannot fit " * 4))
    assert long.size == SIZE


def test_two_dimensional_poses():
    layout = get_layout("coco17")
    rng = np.random.default_rng(0)
    poses = rng.uniform(0.2, 0.8, (1, 3, 17, 2)).astype(np.float32)
    assert ink(next(render_frames(poses, "coco17", size=SIZE))) > 100
    confident = np.concatenate([poses, np.ones((1, 3, 17, 1), np.float32)], axis=-1)
    with_all = next(render_frames(confident, layout, size=SIZE, channels="xyc"))
    confident[0, :, layout.index("left_wrist"), 2] = 0
    without = next(render_frames(confident, layout, size=SIZE, channels="xyc"))
    assert differ(with_all, without)
    # rows of an image run downwards: the joint with the smallest row is the highest in the picture
    pose = np.full((1, 1, 17, 2), 0.5)
    pose[..., layout.index("left_ankle"), :] = (0.5, 0.9)
    pose[..., layout.index("left_knee"), :] = (0.5, 0.7)
    image = np.asarray(next(render_frames(pose, layout, size=SIZE))).astype(int)
    rows = np.flatnonzero((np.ptp(image[:135], axis=-1) > 60).any(axis=1))
    assert rows.min() < 30 and rows.max() > 110


def test_strip_is_a_row_of_poses(pair, tmp_path):
    strip = render_strip(pair, LAYOUT, tmp_path / "strip.png", num_poses=4, size=(100, 120))
    assert strip.size == (400, 120)
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.size == (400, 120)
    columns = [strip.crop((100 * i, 0, 100 * i + 100, 100)) for i in range(4)]
    assert all(ink(column) > 50 for column in columns) and differ(columns[0], columns[2])
    assert render_strip(pair[:, :2], LAYOUT, num_poses=9, size=(100, 120)).size == (200, 120)
    assert render_strip(pair, LAYOUT, num_poses=2, title="hand over", size=(100, 120)).height > 120


def test_damaged_joints_are_left_out(pair):
    broken = pair.copy()
    broken[0, 0, LAYOUT.index("left_foot")] = np.nan
    whole, damaged = next(render_frames(pair, LAYOUT, size=SIZE)), next(render_frames(broken, LAYOUT, size=SIZE))
    assert differ(whole, damaged) and ink(damaged) > 100


def test_errors_name_what_is_wrong(pair, tmp_path):
    with pytest.raises(ValueError, match="25 joints but layout 'kinect20' has 20"):
        render_frames(pair, "kinect20")
    with pytest.raises(ValueError, match="shape"):
        render_frames(np.zeros((4, 25)), LAYOUT)
    with pytest.raises(ValueError, match="frame_mask"):
        render_frames(pair, LAYOUT, frame_mask=np.ones((1, 3), bool))
    with pytest.raises(ValueError, match="caption_per_frame has 2"):
        render_frames(pair, LAYOUT, caption_per_frame=["a", "b"])
    with pytest.raises(ValueError, match="unknown view 'behind'"):
        render_frames(pair, LAYOUT, view="behind")
    with pytest.raises(ValueError, match="must end in .gif"):
        render_gif(pair, LAYOUT, tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="frame_rate"):
        render_gif(pair, LAYOUT, tmp_path / "a.gif", frame_rate=120)
    with pytest.raises(ValueError, match="num_poses"):
        render_strip(pair, LAYOUT, num_poses=0)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run():
    app = Typer()
    app.command()(render_command)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


def test_command_draws_an_array(run, pair, tmp_path):
    np.save(tmp_path / "pair.npy", pair)
    result = run(tmp_path / "pair.npy", tmp_path / "a.gif", "--layout", "ntu25", "--size", 120, "--stop", 5)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 5 and picture.size == (120, 120)
    assert str(tmp_path / "a.gif") in result.output
    options = ["--layout", "ntu25", "--poses", 3, "--view", "30,10", "--size", 100]
    result = run(tmp_path / "pair.npy", tmp_path / "a.png", *options)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == 3 * 72


def test_command_draws_a_recording_of_a_store(run, tmp_path):
    samples = [synthesize_sequence(index) for index in range(2)]
    writer = SkeletonStoreWriter(tmp_path / "store", "ntu25", 30.0, label_names=list(SYNTHETIC_ACTIONS))
    for sample in samples:
        writer.add(sample)
    writer.close()
    result = run(tmp_path / "store", tmp_path / "b.gif", "--index", 1, "--size", 100)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "b.gif") as picture:
        assert picture.n_frames == samples[1].keypoints.shape[1]
    result = run(tmp_path / "store", tmp_path / "c.gif", "--index", 2)
    assert result.exit_code == 1 and "no recording 2" in result.output


def test_command_draws_an_ntu_file(run, fixtures, tmp_path):
    result = run(fixtures / "S001C001P001R001A050.skeleton", tmp_path / "d.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "d.png") as picture:
        assert ink(picture) > 500


def test_command_explains_mistakes(run, pair, tmp_path):
    result = run(tmp_path / "nothing.npy", tmp_path / "a.gif")
    assert result.exit_code == 1 and "no such file" in result.output
    np.save(tmp_path / "odd.npy", np.zeros((1, 4, 7, 3)))
    result = run(tmp_path / "odd.npy", tmp_path / "a.gif")
    assert result.exit_code == 1 and "--layout" in result.output
    np.save(tmp_path / "pair.npy", pair)
    assert "must end in .gif" in run(tmp_path / "pair.npy", tmp_path / "a.avi").output
    options = ["--layout", "ntu25", "--start", 90]
    assert "do not lie in" in run(tmp_path / "pair.npy", tmp_path / "a.gif", *options).output
