import json

import numpy as np
import pytest

from skeleton_transformers import SkeletonFeatureExtractor
from skeleton_transformers.data.body_selection import BODY_SCHEMES, select_bodies, select_people
from skeleton_transformers.data.formats import NTURecording, RecordingError, read_ntu_skeleton
from skeleton_transformers.data.formats.base import SkeletonRecording
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter
from skeleton_transformers.skeletons import get_layout


@pytest.fixture(scope="module")
def recording(fixtures):
    return read_ntu_skeleton(fixtures / "S001C001P001R001A050.skeleton")


@pytest.fixture(scope="module")
def golden(fixtures):
    return json.loads((fixtures / "golden.json").read_text())["skel"]


def check_statistics(keypoints, expected):
    assert keypoints.sum(dtype=np.float64) == pytest.approx(expected["sum"], rel=1e-5)
    assert np.abs(keypoints).mean(dtype=np.float64) == pytest.approx(expected["abs_mean"], rel=1e-5)


def test_simple_matches_the_original(recording, golden):
    keypoints, mask = select_bodies(recording, "simple")
    assert keypoints.shape == (2, 40, 25, 3) and keypoints.dtype == np.float32
    check_statistics(keypoints, golden["hitrs_simple[C,T,V,M]"])
    np.testing.assert_allclose(keypoints[0, 0, 0], golden["hitrs_t0_body0_joint0"], atol=1e-5)
    np.testing.assert_allclose(keypoints[0, 12, 0], golden["hitrs_t12_body0_joint0(noise first)"], atol=1e-5)
    assert not mask[:, 7].any() and mask[0].sum() == 39
    assert mask[1].tolist() == [5 <= frame < 35 and frame != 7 for frame in range(40)]


def test_energy_matches_the_original(recording, golden):
    keypoints, mask = select_bodies(recording, "energy")
    assert keypoints.shape == (2, 40, 25, 3)
    check_statistics(keypoints, golden["agcn_top2_energy[C,T,V,M]"])
    np.testing.assert_allclose(keypoints[0, 12, 0], golden["agcn_t12_joint0_body0"], atol=1e-5)
    np.testing.assert_allclose(keypoints[1, 12, 0], golden["agcn_t12_joint0_body1"], atol=1e-5)
    np.testing.assert_array_equal(keypoints.any(axis=(2, 3)), mask)


def test_denoise_matches_the_original(recording, golden):
    keypoints, mask = select_bodies(recording, "denoise")
    assert keypoints.shape == (2, golden["ctr_num_frames"], 25, 3)
    check_statistics(keypoints, golden["ctr_denoised[T,150]"])
    np.testing.assert_allclose(keypoints[0, 12, 0], golden["ctr_t12_actor1_joint0"], atol=1e-5)
    np.testing.assert_allclose(keypoints[1, 12, 0], golden["ctr_t12_actor2_joint0"], atol=1e-5)
    assert mask.sum(axis=1).tolist() == [golden["ctr_bodies"]["102"]["len"], golden["ctr_bodies"]["101"]["len"]]
    # CTR-GCN then subtracts the spine of the first frame of actor 1 from everybody who is there
    first = int(mask[0].argmax())
    assert first == golden["ctr_first_actor1_frame"]
    center = keypoints[0, first, get_layout("ntu25").center]
    translated = np.where(mask[..., None, None], keypoints - center, 0)
    check_statistics(translated, golden["ctr_translated[T,150]"])


def make_recording(*bodies, num_frames=40):
    """A recording of bodies given as (id, frames, keypoints (len(frames), V, 3))."""
    entries = sorted(
        (frame, order, body, keypoints[i])
        for order, (body, frames, keypoints) in enumerate(bodies)
        for i, frame in enumerate(frames)
    )
    slots, last, slot = [], -1, 0
    for frame, *_ in entries:
        slot = slot + 1 if frame == last else 0
        last = frame
        slots.append(slot)
    keypoints = np.array([entry[3] for entry in entries], dtype=np.float32).reshape(-1, 25, 3)
    return NTURecording(
        num_frames=num_frames,
        frames=np.array([entry[0] for entry in entries], dtype=np.int64),
        slots=np.array(slots, dtype=np.int64),
        body_ids=tuple(entry[2] for entry in entries),
        keypoints=keypoints,
        tracking_states=np.full(keypoints.shape[:2], 2, dtype=np.int8),
    )


def person(frames, amplitude=0.1, seed=0, width=0.4):
    """A standing body, 1.6 tall, that shakes."""
    rng = np.random.default_rng(seed)
    body = np.stack([np.linspace(-width / 2, width / 2, 25), np.linspace(-0.8, 0.8, 25), np.full(25, 3.0)], axis=-1)
    return body + amplitude * rng.normal(size=(len(frames), 1, 3))


def test_one_person_alone_gives_one_person_in_every_scheme():
    frames = [0, 1, 2, 5, 6, 7]
    recording = make_recording((11, frames, person(frames)), num_frames=8)
    for scheme in ("simple", "energy"):
        keypoints, mask = select_bodies(recording, scheme)
        assert keypoints.shape == (1, 8, 25, 3)
        assert mask.tolist() == [[frame in frames for frame in range(8)]]
        np.testing.assert_array_equal(keypoints[0, frames], recording.keypoints)
    keypoints, mask = select_bodies(recording, "denoise")  # frames without anybody are left out
    assert keypoints.shape == (1, 6, 25, 3) and mask.all()
    np.testing.assert_array_equal(keypoints[0], recording.keypoints)


def test_energy_takes_the_liveliest_and_simple_the_first_listed():
    frames = range(20)
    recording = make_recording(
        (1, frames, person(frames, 0.01, 1)),
        (2, frames, person(frames, 0.5, 2)),
        (3, frames, person(frames, 0.2, 3)),
        num_frames=20,
    )
    simple, _ = select_bodies(recording, "simple")
    energy, _ = select_bodies(recording, "energy")
    bodies = recording.keypoints.reshape(20, 3, 25, 3).swapaxes(0, 1)
    np.testing.assert_array_equal(simple, bodies[[0, 1]])
    np.testing.assert_array_equal(energy, bodies[[1, 2]])


def test_denoise_drops_short_and_spread_bodies_and_joins_those_that_follow_each_other():
    whole, early, late, short = range(40), range(5, 18), range(20, 38), range(11)
    bodies = {
        1: (1, whole, person(whole, 0.3, 1)),
        2: (2, early, person(early, 0.2, 2)),
        3: (3, late, person(late, 0.1, 3)),
        4: (4, short, person(short, 2.0, 4)),
        5: (5, whole, person(whole, 2.0, 5, width=3.0)),
    }
    keypoints, mask = select_bodies(make_recording(*bodies.values()), "denoise")
    np.testing.assert_allclose(keypoints[0], bodies[1][2].astype(np.float32))
    np.testing.assert_allclose(keypoints[1, 5:18], bodies[2][2].astype(np.float32))
    np.testing.assert_allclose(keypoints[1, 20:38], bodies[3][2].astype(np.float32))
    assert mask[0].all() and mask[1].sum() == len(early) + len(late)
    # 12 frames are enough
    longer = range(12)
    keypoints, _ = select_bodies(make_recording(bodies[1], (4, longer, person(longer, 2.0, 4))), "denoise")
    np.testing.assert_allclose(keypoints[0, :12], person(longer, 2.0, 4).astype(np.float32))


def test_denoise_counts_motion_over_good_frames_only():
    whole = range(40)
    jumpy = person(whole, 0.05, 1)
    jumpy[:10] = person(range(10), 3.0, 2, width=3.0)  # a quarter of the frames is noise, which alone is what moves
    keypoints, _ = select_bodies(make_recording((1, whole, jumpy), (2, whole, person(whole, 0.3, 3))), "denoise")
    np.testing.assert_allclose(keypoints[1], jumpy.astype(np.float32))


def test_denoise_never_drops_everybody():
    short, shorter = range(8), range(5)
    recording = make_recording((1, shorter, person(shorter, 1.0)), (2, short, person(short)), num_frames=9)
    keypoints, mask = select_bodies(recording, "denoise")
    assert keypoints.shape == (1, 8, 25, 3)
    np.testing.assert_allclose(keypoints[0], person(short).astype(np.float32))
    wide = make_recording(*[(i, range(20), person(range(20), 0.1, i, width=3.0)) for i in (1, 2)], num_frames=20)
    assert select_bodies(wide, "denoise")[0].shape == (1, 20, 25, 3)


@pytest.mark.parametrize("scheme", BODY_SCHEMES)
def test_absent_frames_hold_zeros(recording, scheme):
    keypoints, mask = select_bodies(recording, scheme)
    assert not keypoints[~mask].any() and mask.any(axis=1).all() and np.isfinite(keypoints).all()


def test_messages():
    recording = make_recording(num_frames=7)
    with pytest.raises(ValueError, match="unknown body selection 'best'; choose one of simple, energy, denoise, all"):
        select_bodies(recording, "best")
    with pytest.raises(RecordingError, match="nobody was tracked in any of the 7 frames"):
        select_bodies(recording, "simple")


def test_all_keeps_everybody_by_id(recording):
    keypoints, mask = select_bodies(recording, "all")
    names = list(dict.fromkeys(recording.body_ids))
    assert len(keypoints) == 3 and mask.shape == (3, 40)
    for observation, body in enumerate(recording.body_ids):
        place = names.index(body), recording.frames[observation]
        np.testing.assert_array_equal(keypoints[place], recording.keypoints[observation])
    assert mask.sum() == len(recording.body_ids)


def as_recording(keypoints, mask=None, **values):
    mask = np.ones(keypoints.shape[:2], dtype=bool) if mask is None else mask
    keypoints = np.where(mask[..., None, None], keypoints, 0).astype(np.float32)
    return SkeletonRecording(keypoints, mask, get_layout("ntu25"), **values)


def crowd():
    """Four people by liveliness 3, 1, 2, 0 of which person 0 is there in the first 5 frames only."""
    frames = range(30)
    keypoints = np.stack([person(frames, amplitude, seed) for seed, amplitude in enumerate([0.0, 0.3, 0.1, 0.6])])
    mask = np.ones((4, 30), dtype=bool)
    mask[0, 5:] = False
    return keypoints, mask


@pytest.mark.parametrize(
    ("scheme", "chosen"), [("all", [0, 1, 2, 3]), ("simple", [0, 1]), ("energy", [3, 1]), ("denoise", [3, 1])]
)
def test_people_of_any_recording_are_chosen_with_all_that_belongs_to_them(scheme, chosen):
    keypoints, mask = crowd()
    rng = np.random.default_rng(0)
    joint_mask = (rng.random((4, 30, 25)) < 0.9) & mask[..., None]
    recording = as_recording(
        np.where(joint_mask[..., None], keypoints, 0),
        mask,
        joint_mask=joint_mask,
        confidence=rng.random((4, 30, 25)).astype(np.float32),
        person_ids=("a", "b", "c", "d"),
        frame_rate=30.0,
        source="crowd.json",
    )
    selected = select_people(recording, scheme)
    assert selected.person_ids == tuple("abcd"[index] for index in chosen)
    for name in ("keypoints", "frame_mask", "joint_mask"):
        np.testing.assert_array_equal(getattr(selected, name), getattr(recording, name)[chosen])
    there = selected.frame_mask
    np.testing.assert_array_equal(selected.confidence[there], recording.confidence[chosen][there])
    assert selected.frame_rate == 30.0 and selected.source == "crowd.json"


def test_tracks_that_follow_each_other_become_one_actor_at_their_own_times():
    frames = range(60)
    keypoints = np.stack([person(frames, amplitude, seed) for seed, amplitude in enumerate([0.5, 0.3, 0.2, 0.4])])
    mask = np.zeros((4, 60), dtype=bool)
    mask[0], mask[1, 5:20], mask[2, 30:55], mask[3, :8] = True, True, True, True
    mask[0, 25:28] = False
    selected = select_people(as_recording(keypoints, mask, person_ids=("a", "b", "c", "d")), "denoise")
    assert selected.person_ids == ("a", "b+c")  # d is too short
    np.testing.assert_array_equal(selected.frame_mask, [mask[0], mask[1] | mask[2]])
    np.testing.assert_allclose(selected.keypoints[1, 5:20], keypoints[1, 5:20], rtol=1e-6)
    np.testing.assert_allclose(selected.keypoints[1, 30:55], keypoints[2, 30:55], rtol=1e-6)
    three = select_people(as_recording(keypoints, mask), "denoise", max_people=1)
    assert three.keypoints.shape[0] == 1 and three.person_ids == ()


def test_denoise_measures_the_height_along_the_axis_that_is_up():
    frames = range(30)
    upright = np.stack([person(frames, 0.1, 1), person(frames, 0.5, 2, width=3.0)])
    for axis, order in {"x": [1, 0, 2], "y": [0, 1, 2]}.items():
        selected = select_people(as_recording(upright[..., order]), "denoise", vertical_axis=axis)
        np.testing.assert_allclose(selected.keypoints, upright[:1][..., order], rtol=1e-6)


def test_two_person_actions_reach_the_model_with_both_people(recording, tmp_path):
    """From the raw file over every scheme, the store and the extractor to the batch: both people, each in her frames."""
    for scheme in BODY_SCHEMES:
        keypoints, mask = select_bodies(recording, scheme)
        with SkeletonStoreWriter(tmp_path / scheme, "ntu25", 30.0, label_names=["punch"]) as writer:
            writer.add(SkeletonSample(keypoints, mask, label=0, name="S001C001P001R001A050"))
        stored = SkeletonStore.open(tmp_path / scheme)[0]
        inputs = SkeletonFeatureExtractor(max_persons=len(mask))([stored.keypoints], [stored.frame_mask])
        assert inputs["frame_mask"].shape[1] == len(mask) >= 2
        np.testing.assert_array_equal(inputs["frame_mask"][0], mask)
        np.testing.assert_array_equal(inputs["keypoints"][0], keypoints)
        assert (mask.sum(axis=0) >= 2).sum() >= 28, scheme  # where both were seen, both are there
    two = [mask.sum() for mask in select_bodies(recording, "all")[1]]
    assert sorted(two) == [20, 29, 39]


def test_messages_of_any_recording():
    keypoints, mask = crowd()
    with pytest.raises(ValueError, match="unknown body selection 'best'"):
        select_people(as_recording(keypoints, mask), "best")
    with pytest.raises(ValueError, match="max_people must be at least 1, got 0"):
        select_people(as_recording(keypoints, mask), "simple", max_people=0)
    with pytest.raises(RecordingError, match="x.npy: nobody is there in any of the 30 frames"):
        select_people(as_recording(keypoints, np.zeros_like(mask), source="x.npy"))
