import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skeleton_transformers.data.formats import RecordingError
from skeleton_transformers.data.tracking import assemble_tracks, track_people


def walkers(frames=120, joints=17, channels=2, seed=0):
    """Three people, two of whom walk through each other: `(3, frames, joints, channels)`, about 2 units tall."""
    rng = np.random.default_rng(seed)
    bodies = rng.uniform(-0.5, 0.5, size=(3, 1, joints, channels)) * [0.7, 2.0, 0.5][:channels]
    time = np.arange(frames) / 30
    path = np.zeros((3, frames, 1, channels))
    path[0, :, 0, 0], path[1, :, 0, 0] = -3 + 1.5 * time, 3 - 1.5 * time
    path[2, :, 0, 0], path[2, :, 0, 1] = 4.5, 0.3 * np.sin(3 * time)
    return (path + bodies + 0.01 * rng.normal(size=(3, frames, joints, channels))).astype(np.float32)


def shuffled(people, seen, seed=0):
    """What a pose estimator writes: the people of each frame who are seen, in any order."""
    rng = np.random.default_rng(seed)
    order = [rng.permutation(np.flatnonzero(seen[:, frame])) for frame in range(people.shape[1])]
    return [people[who, frame] for frame, who in enumerate(order)]


def match(keypoints, mask, people, seen):
    """The person of each track, checking that a track is one person everywhere and nobody is lost."""
    owners = []
    for track, present in zip(keypoints, mask):
        same = [np.array_equal(track[present], person[present]) for person in people]
        assert sum(same) == 1, "a track mixes people"
        owners.append(same.index(True))
    for person in range(len(people)):
        tracks = [t for t, owner in enumerate(owners) if owner == person]
        np.testing.assert_array_equal(mask[tracks].sum(axis=0), seen[person])
    return owners


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("misses", [0.0, 0.2])
def test_people_who_cross_keep_their_identity(channels, misses):
    people = walkers(channels=channels)
    seen = np.random.default_rng(1).random(people.shape[:2]) >= misses
    keypoints, mask = track_people(shuffled(people, seen))
    assert keypoints.dtype == np.float32 and len(keypoints) == 3
    assert sorted(match(keypoints, mask, people, seen)) == [0, 1, 2]
    assert not keypoints[~mask].any()


@pytest.mark.parametrize(("away", "tracks"), [(10, 1), (11, 2)])
def test_gaps_are_bridged_up_to_the_limit(away, tracks):
    people = walkers()[2:]
    seen = np.ones((1, 120), dtype=bool)
    seen[0, 50 : 50 + away] = False
    keypoints, mask = track_people(shuffled(people, seen), max_gap=10)
    assert len(mask) == tracks
    match(keypoints, mask, people, seen)


def test_the_limit_of_the_distance_is_relative_to_the_body():
    people = walkers(channels=3)[:1]
    people[:, 60:] += np.float32(3.0)
    everywhere = np.ones((1, 120), dtype=bool)
    for scale in (1e-3, 1.0, 1e3):
        assert len(track_people(shuffled(people * np.float32(scale), everywhere), max_distance=0.5)[0]) == 2
        assert len(track_people(shuffled(people * np.float32(scale), everywhere), max_distance=5.0)[0]) == 1


def test_missing_joints_stay_missing_and_wild_ones_break_no_track():
    rng = np.random.default_rng(3)
    people = walkers(channels=3)
    people[rng.random(people.shape[:3]) < 0.3] = np.nan
    people[0, 30, :5] = 100.0
    seen = np.ones(people.shape[:2], dtype=bool)
    keypoints, mask = track_people(shuffled(people, seen))
    assert mask.all() and len(mask) == 3
    assert {np.isnan(track).sum() for track in keypoints} == {np.isnan(person).sum() for person in people}


def test_people_without_any_joint_are_nobody_and_confidence_0_is_no_joint():
    people = walkers()[:2]
    with_confidence = np.concatenate([people, np.ones((*people.shape[:3], 1), np.float32)], axis=-1)
    with_confidence[1, :, :, 2] = 0
    keypoints, mask = track_people(list(with_confidence.swapaxes(0, 1)), confidence_channel=True)
    np.testing.assert_array_equal(keypoints, with_confidence[:1])
    assert mask.all()


def test_short_tracks_are_left_out_only_when_asked():
    people = walkers()
    seen = np.ones(people.shape[:2], dtype=bool)
    seen[2, 4:] = False
    assert len(track_people(shuffled(people, seen))[0]) == 3
    assert len(track_people(shuffled(people, seen), min_frames=5)[0]) == 2
    with pytest.raises(RecordingError, match="nobody was seen for 121 frames or more in any of the 120 frames"):
        track_people(shuffled(people, seen), min_frames=121)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_detection_is_lost_or_made_up(data):
    counts = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    values = st.floats(-50, 50, width=32) | st.just(np.nan)
    detections = [data.draw(arrays(np.float32, (count, 3, 2), elements=values)) for count in counts]
    real = [[pose for pose in people if np.isfinite(pose).all(axis=1).any()] for people in detections]
    if not any(real):
        with pytest.raises(RecordingError, match="nobody was seen"):
            track_people(detections)
        return
    keypoints, mask = track_people(detections, max_gap=data.draw(st.integers(0, 5)))
    assert mask.any(axis=1).all()
    for frame, people in enumerate(real):
        found = keypoints[mask[:, frame], frame]
        assert sorted(pose.tobytes() for pose in found) == sorted(pose.tobytes() for pose in people)


def test_messages():
    with pytest.raises(RecordingError, match="nobody was seen in any of the 2 frames"):
        track_people([np.zeros((0, 17, 2)), []])
    with pytest.raises(RecordingError, match=r"frame 1: expected numbers of shape \(people, joints, channels\)"):
        track_people([np.ones((1, 17, 2)), np.ones((17, 2))])
    with pytest.raises(RecordingError, match="people of different shapes"):
        track_people([np.ones((1, 17, 2)), np.ones((1, 18, 2))])
    with pytest.raises(ValueError, match="max_distance above 0; got 15, 1 and 0"):
        track_people([np.ones((1, 17, 2))], max_distance=0)


def test_observations_with_names_are_lined_up():
    poses = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)
    keypoints, mask, names = assemble_tracks(5, [0, 0, 2, 4], [72057594037931101, "b", "b", 72057594037931101], poses)
    assert names == ("72057594037931101", "b")
    assert mask.tolist() == [[True, False, False, False, True], [True, False, True, False, False]]
    np.testing.assert_array_equal(keypoints[0, [0, 4]], poses[[0, 3]])
    np.testing.assert_array_equal(keypoints[1, [0, 2]], poses[[1, 2]])
    with pytest.raises(RecordingError, match="person 7 is listed 2 times in frame 1"):
        assemble_tracks(3, [0, 1, 1], [7, 7, 7], poses[:3])
    with pytest.raises(RecordingError, match="frame 3 does not lie in the recording of 3 frames"):
        assemble_tracks(3, [3], [7], poses[:1])
