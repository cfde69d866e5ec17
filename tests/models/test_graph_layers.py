"""Tracks, masks and normalisation of the graph networks."""

import pytest
import torch

from skeleton_transformers import STGCNConfig
from skeleton_transformers.models.graph_layers import (
    FrameBatchNorm,
    InputNorm,
    make_tracks,
    pad_to,
    pool_tracks,
    stride_mask,
)


def batch():
    torch.manual_seed(0)
    mask = torch.zeros(2, 3, 6, dtype=torch.bool)
    mask[0, 1] = True
    mask[1, 0, 1:4] = True
    mask[1, 2, [0, 5]] = True
    return torch.randn(2, 3, 6, 25, 3), mask


def test_tracks_are_the_persons_who_are_there():
    keypoints, mask = batch()
    tracks = make_tracks(STGCNConfig.from_preset("tiny"), keypoints, mask)
    assert tracks.chosen.tolist() == [[False, True, False], [True, False, True]]
    assert torch.equal(tracks.mask, mask[tracks.chosen]) and torch.equal(tracks.keypoints[0], keypoints[0, 1])
    assert not tracks.keypoints[1, 0].any() and torch.equal(tracks.keypoints[1, 1:4], keypoints[1, 0, 1:4])
    complete = make_tracks(STGCNConfig.from_preset("tiny"), keypoints, torch.ones_like(mask))
    assert complete.mask is None and len(complete.keypoints) == 6


def test_the_original_takes_every_slot_and_pads():
    keypoints, mask = batch()
    config = STGCNConfig.from_preset("tiny", ignore_absent_person=False, padded_frames=9)
    tracks = make_tracks(config, keypoints, mask)
    assert tracks.mask is None and tracks.chosen.all() and tracks.keypoints.shape == (6, 9, 25, 3)
    assert not tracks.keypoints[0].any() and not tracks.keypoints[1, 6:].any()


def test_padding_by_repetition_repeats_what_the_person_did():
    keypoints, mask = batch()
    keypoints = keypoints * mask[..., None, None]
    padded = pad_to(keypoints, mask, 11, repeat=True)
    assert padded.shape == (2, 3, 11, 25, 3)
    assert torch.equal(padded[0, 1, 6:11], keypoints[0, 1, :5])  # six frames long
    assert torch.equal(padded[1, 0, 4:8], keypoints[1, 0, :4])  # four frames long
    assert not padded[0, 0].any()
    assert torch.equal(pad_to(keypoints, mask, 4, repeat=True)[0, 1], keypoints[0, 1, :4])
    assert torch.equal(pad_to(keypoints, mask, 4, repeat=False), keypoints[:, :, :4])


def test_a_step_is_there_where_any_of_its_frames_is():
    mask = torch.tensor([[0, 1, 0, 0, 1], [1, 1, 1, 1, 0]], dtype=torch.bool)
    assert stride_mask(mask, 1) is mask and stride_mask(None, 2) is None
    assert stride_mask(mask, 2).tolist() == [[True, False, True], [True, True, False]]
    assert stride_mask(mask, 3).tolist() == [[True, True], [True, True]]


def test_pooling_averages_what_is_there():
    torch.manual_seed(0)
    states, mask = torch.randn(3, 4, 5, 25), torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [0, 0, 1, 0, 1]]).bool()
    states = states * mask[:, None, :, None]
    chosen = torch.tensor([[False, True], [True, True]])
    steps, step_mask, pooled = pool_tracks(states, mask, chosen)
    assert steps.shape == (2, 2, 5, 4) and torch.equal(step_mask[chosen], mask) and not step_mask[0, 0].any()
    tracks = [states[0].mean(dim=(1, 2)), states[1][:, :2].mean(dim=(1, 2)), states[2][:, [2, 4]].mean(dim=(1, 2))]
    torch.testing.assert_close(pooled, torch.stack([tracks[0], (tracks[1] + tracks[2]) / 2]))


def test_statistics_are_those_of_the_frames_that_are_there():
    torch.manual_seed(0)
    states, mask = torch.randn(3, 4, 5, 7), torch.rand(3, 5) < 0.6
    packed = states.transpose(1, 2)[mask]  # (frames, channels, joints)
    masked, plain = FrameBatchNorm(4), torch.nn.BatchNorm1d(4)
    result = masked(states.masked_fill(~mask[:, None, :, None], 1e6), mask)
    torch.testing.assert_close(result.transpose(1, 2)[mask], plain(packed))
    assert not result.transpose(1, 2)[~mask].any()
    torch.testing.assert_close(masked.running_mean, plain.running_mean)
    torch.testing.assert_close(masked.running_var, plain.running_var)
    masked.eval(), plain.eval()
    torch.testing.assert_close(masked(states, mask).transpose(1, 2)[mask], plain(packed))


def test_the_input_is_normalised_joint_by_joint():
    torch.manual_seed(0)
    keypoints = torch.randn(4, 50, 25, 3) * (0.5 + torch.rand(25, 3)) + torch.randn(25, 3)
    states = InputNorm(75)(keypoints)
    assert states.shape == (4, 3, 50, 25)
    assert states.mean(dim=(0, 2)).abs().max() < 1e-4
    torch.testing.assert_close(states.var(dim=(0, 2), correction=0), torch.ones(3, 25), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"strides": [1, 1]}, "one number for every layer, but there are 10 and 2"),
        ({"temporal_kernel_size": 8}, "temporal_kernel_size must be odd, got 8"),
        ({"padded_frames": 300}, "goes with ignore_absent_person=False only"),
        ({"padding": "mirror"}, "padding must be one of zeros, repeat; got 'mirror'"),
        ({"frame_window": 30}, "frame_window must be a multiple of 4, got 30"),
        ({"partition": "random"}, "partition must be one of spatial, distance, uniform; got 'random'"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob must lie in \[0, 1\), got 1.0"),
    ],
)
def test_configurations_that_contradict_themselves_are_refused(fields, message):
    with pytest.raises(Exception, match=message):
        STGCNConfig(**fields)


def test_unknown_presets_are_named():
    with pytest.raises(ValueError, match="STGCNConfig has no preset 'huge'; presets are tiny, small, base, original"):
        STGCNConfig.from_preset("huge")
