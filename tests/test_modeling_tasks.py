"""Detection and prediction heads: what they compute, and that they learn."""

import resource
import sys

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn

from skeleton_transformers import HiTRSConfig, HiTRSForActionDetection, HiTRSForMotionPrediction, HiTRSModel
from skeleton_transformers.data.clips import clip_frame_indices
from skeleton_transformers.data.motion_synthesis import synthesize_take
from skeleton_transformers.evaluation.detection import predict_frames
from skeleton_transformers.modeling_outputs import SkeletonModelOutput
from skeleton_transformers.modeling_tasks import ActionDetectionHead, MotionDecoder, WindowedFrameFeatures


SMALL = {
    "hidden_sizes": [16, 32, 32],
    "num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_size": 16,
    "intermediate_sizes": [16, 16, 32],
    "hidden_dropout_prob": 0.0,
}


def take(frames=40, persons=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.randn(1, persons, frames, 25, 3, generator=generator)
    mask = torch.ones(1, persons, frames, dtype=torch.bool)
    mask[0, 1, 10:30] = False
    return keypoints * mask[..., None, None], mask


@pytest.mark.parametrize("ignore_absent_person", [True, False])
def test_a_frame_has_the_feature_of_the_clip_centred_on_it(ignore_absent_person):
    """Clip by clip, person by person, through F-TRS and C-TRS, with zero frames beyond the ends."""
    torch.manual_seed(0)
    model = HiTRSModel(HiTRSConfig(**SMALL, ignore_absent_person=ignore_absent_person)).eval()
    keypoints, mask = take()
    windows = clip_frame_indices(40, 7, 1, 2)  # offsets -6, -4, ..., 6
    assert windows[20].tolist() == [14, 16, 18, 20, 22, 24, 26] and windows[0].tolist() == [-1, -1, -1, 0, 2, 4, 6]
    with torch.no_grad():
        found = model.get_frame_features(keypoints, mask)
        for frame in (0, 3, 11, 20, 39):
            features, seen = [], []
            for person in range(2):
                clip = torch.zeros(7, 25, 3)
                for place, number in enumerate(windows[frame].tolist()):
                    if number >= 0:
                        clip[place] = keypoints[0, person, number]
                seen.append(any(n >= 0 and bool(mask[0, person, n]) for n in windows[frame].tolist()))
                features.append(model.clip(model.frame(clip), torch.arange(7)[None])[0])
            if ignore_absent_person:
                features = [feature for feature, there in zip(features, seen) if there]
            torch.testing.assert_close(found[0, frame], torch.stack(features).mean(dim=0), atol=1e-5, rtol=1e-4)
    assert seen == [True, True]


def test_only_the_frames_around_matter():
    torch.manual_seed(0)
    model = HiTRSForActionDetection(HiTRSConfig(**SMALL, num_labels=4)).eval()
    keypoints, mask = take()
    assert model.hitrs.frame_context == 6
    changed = keypoints.clone()
    changed[:, 0, 20] += 1
    with torch.no_grad():
        moved = (model(changed, mask).logits - model(keypoints, mask).logits).abs().amax(dim=-1)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == [14, 16, 18, 20, 22, 24, 26]


def test_frames_without_labels_are_not_computed_in_training():
    torch.manual_seed(0)
    model = HiTRSForActionDetection(HiTRSConfig(**SMALL, num_labels=4)).train()
    keypoints, mask = take()
    encoded = []
    model.hitrs.clip.register_forward_hook(lambda module, inputs, output: encoded.append(len(output)))
    labels = torch.full((1, 40), -100)
    labels[0, [3, 5]] = torch.tensor([1, 2])
    model(keypoints, mask, labels=labels).loss.backward()
    assert encoded == [4]  # two frames, two persons
    assert model(keypoints, mask, labels=torch.full((1, 40), -100)).loss == 0


def test_the_decoder_is_the_one_of_martinez_et_al():
    torch.manual_seed(0)
    model = HiTRSForMotionPrediction(HiTRSConfig(**SMALL, decoder_hidden_size=24, prediction_frames=3)).eval()
    assert model.decoder.cell.input_size == 75 and model.decoder.cell.hidden_size == 24
    weight = model.decoder.output.weight
    assert 0.038 < weight.abs().max() <= 0.04 and not model.decoder.output.bias.any()
    keypoints, mask = take(persons=2)
    with torch.no_grad():
        feature = model.hitrs(keypoints[:, :1], mask[:, :1]).pooler_output
        predicted = model(keypoints, mask).predicted_keypoints[0, 0]
        state, pose = torch.tanh(model.decoder.initial_state(feature)), keypoints[:, 0, -1].flatten(1)
        for frame in range(3):
            state = nn.GRUCell.forward(model.decoder.cell, pose, state)
            pose = pose + state @ weight.T
            torch.testing.assert_close(predicted[frame].flatten(), pose[0])


def test_poses_stay_exact_in_half_precision():
    decoder = MotionDecoder(8, 3, 16).to(torch.bfloat16)
    nn.init.zeros_(decoder.output.weight)
    nn.init.zeros_(decoder.output.bias)
    pose = torch.tensor([[3.1415926, 0.001, -2.7182818]])
    feature, velocity = torch.zeros(1, 8, dtype=torch.bfloat16), torch.zeros_like(pose)
    assert torch.equal(decoder(feature, pose, velocity, 2), pose[None].expand(1, 2, 3))


def test_residual_velocity_starts_as_a_motion_that_dies_down():
    config = HiTRSConfig(**SMALL, decoder_hidden_size=24, prediction_frames=3, decoder_residual="velocity")
    model = HiTRSForMotionPrediction(config).eval()
    assert model.decoder.cell.input_size == 2 * 75
    keypoints, mask = take(persons=2)
    mask[0, 1, -2] = False  # her velocity at the end is not known
    with torch.no_grad():
        first, second = model(keypoints, mask).predicted_keypoints[0]
    velocity = keypoints[0, 0, -1] - keypoints[0, 0, -2]
    for frame, shares in enumerate((0.7, 0.7 + 0.49, 0.7 + 0.49 + 0.343)):
        torch.testing.assert_close(first[frame], keypoints[0, 0, -1] + shares * velocity)
        torch.testing.assert_close(second[frame], keypoints[0, 1, -1])
    with pytest.raises(StrictDataclassClassValidationError, match="decoder_residual must be one of pose, velocity"):
        HiTRSConfig(decoder_residual="place")


def test_decoder_behind_a_pretrained_encoder_starts_as_a_new_one(tmp_path):
    HiTRSModel(HiTRSConfig(**SMALL)).save_pretrained(tmp_path)
    model = HiTRSForMotionPrediction.from_pretrained(tmp_path, decoder_hidden_size=24, decoder_residual="velocity")
    assert torch.equal(model.decoder.persistence, torch.full((75,), 0.7))
    assert not model.decoder.output.weight.any()


# ---------------------------------------------------------------------------------------------------------------------
# Encoders that look at a sequence as a whole


class WholeEncoder(WindowedFrameFeatures, nn.Module):
    """A step is the mean of `step` frames plus the mean of everything that the encoder sees."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.frames_seen: list[tuple[int, ...]] = []

    def forward(self, keypoints, frame_mask, return_dict=True):
        self.frames_seen.append(tuple(frame_mask.shape))
        values = keypoints[..., 0, :1] * frame_mask[..., None]  # (rows, persons, frames, 1)
        steps = values.unflatten(2, (-1, self.config.step)).mean(dim=3)
        mask = frame_mask.unflatten(2, (-1, self.config.step)).any(dim=3)
        whole = values.mean(dim=(1, 2), keepdim=True)
        return SkeletonModelOutput(last_hidden_state=(steps + whole) * mask[..., None], step_mask=mask)


class WholeConfig:
    frame_window = 16
    frame_feature_size = 1
    num_labels = 2
    step = 4


class WholeDetector(ActionDetectionHead, nn.Module):
    base_model_prefix = "encoder"
    encoder_class = WholeEncoder  # type: ignore[assignment]

    def __init__(self):
        nn.Module.__init__(self)
        self.encoder = WholeEncoder(WholeConfig())
        self.classifier = nn.Linear(1, 2)


def test_a_windowed_frame_has_the_step_at_its_place():
    encoder = WholeEncoder(WholeConfig())
    keypoints = torch.arange(1.0, 41.0)[None, None, :, None, None].expand(1, 1, 40, 25, 3)
    mask = torch.ones(1, 1, 40, dtype=torch.bool)
    found = encoder.get_frame_features(keypoints, mask)[0, :, 0]
    # Frames 8 .. 15 are the block seen in the window 4 .. 19, whose mean is 12.5; steps are frames 8-11 and 12-15.
    assert found[8:16].tolist() == [10.5 + 12.5] * 4 + [14.5 + 12.5] * 4
    # The first window has four frames before the take.
    assert found[:4].tolist() == [2.5 + sum(range(1, 13)) / 16] * 4
    assert encoder.frame_context == 12 and encoder.frame_alignment == 8


@pytest.mark.parametrize("frames", [5, 16, 40, 61])
def test_windowed_features_in_chunks_are_those_of_the_whole(frames):
    detector = WholeDetector().eval()
    keypoints, mask = torch.randn(2, 2, frames, 25, 3), torch.rand(2, 2, frames) < 0.8
    mask[1, :, frames // 2 :] = False
    with torch.no_grad():
        whole = detector.classifier(detector.encoder.get_frame_features(keypoints, mask))
        for size in (1, 8, 11, 24):
            torch.testing.assert_close(torch.cat(list(detector.iterate_logits(keypoints, mask, size)), dim=1), whole)


def test_windows_in_which_nobody_is_seen_or_wanted_are_not_computed():
    encoder = WholeEncoder(WholeConfig())
    keypoints, mask = torch.randn(1, 1, 80, 25, 3), torch.ones(1, 1, 80, dtype=torch.bool)
    mask[:, :, 16:] = False
    features = encoder.get_frame_features(keypoints, mask)
    assert encoder.frames_seen == [(3, 1, 16)] and not features[:, 24:].any()
    wanted = torch.zeros(1, 80, dtype=torch.bool)
    wanted[0, 3] = True
    part = encoder.get_frame_features(keypoints, mask, wanted)
    assert encoder.frames_seen[1] == (1, 1, 16) and torch.equal(part[:, :8], features[:, :8])


class StretchingEncoder(WholeEncoder):
    """Stretches the frames up to the last present one to eight steps."""

    resizes_sequences = True

    def forward(self, keypoints, frame_mask, return_dict=True):
        ends = (frame_mask.any(dim=1) * torch.arange(1, frame_mask.shape[2] + 1)).amax(dim=1)
        rows = [
            keypoints[row, :, (torch.arange(8) * int(end)) // 8, 0, :1] for row, end in enumerate(ends)
        ]  # (persons, 8, 1)
        states = torch.stack(rows)
        return SkeletonModelOutput(last_hidden_state=states, step_mask=torch.ones(states.shape[:3], dtype=torch.bool))


def test_steps_of_an_encoder_that_stretches_lie_where_the_frames_were():
    encoder = StretchingEncoder(WholeConfig())
    keypoints = torch.arange(1.0, 33.0)[None, None, :, None, None].expand(1, 1, 32, 25, 3)
    mask = torch.ones(1, 1, 32, dtype=torch.bool)
    mask[:, :, 28:] = False
    found = encoder.get_frame_features(keypoints, mask)[0, :28, 0]
    assert (found - torch.arange(1.0, 29.0)).abs().max() <= 2  # a step is two frames wide


# ---------------------------------------------------------------------------------------------------------------------
# Learning, and takes without end


def test_detection_learns_a_take_in_a_few_steps():
    sample, labels = synthesize_take(0, 3, actions=["jump", "wave_right", "squat"], num_persons=1, noise=False)
    names = sorted(set(labels.tolist()) - {-1})
    target = torch.tensor([[names.index(label) + 1 if label >= 0 else 0 for label in labels.tolist()]])
    keypoints = torch.from_numpy(sample.keypoints - sample.keypoints[:, :1, :1])[None]
    mask = torch.from_numpy(sample.frame_mask)[None]
    torch.manual_seed(0)
    model = HiTRSForActionDetection(HiTRSConfig(**SMALL, num_labels=len(names) + 1)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(170):
        drawn = torch.where(torch.rand(target.shape, generator=rng) < 0.3, target, -100)
        optimizer.zero_grad()
        model(keypoints, mask, labels=drawn).loss.backward()
        optimizer.step()
    probabilities = predict_frames(model.eval(), keypoints[0].numpy(), mask[0].numpy(), chunk_frames=50)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    accuracy = (probabilities.argmax(axis=1) == target[0].numpy()).mean()
    assert accuracy > 0.9 > (target == 0).float().mean()


def test_prediction_learns_to_go_on():
    """Everybody moves at a speed of his own; a pose that stays is 0.1 to 0.3 off."""
    generator = torch.Generator().manual_seed(0)
    speed = torch.randn(16, 1, 1, 1, 3, generator=generator) * 0.05
    pose = torch.randn(1, 1, 1, 25, 3, generator=generator)
    motion = pose + speed * (torch.arange(16) - 11)[:, None, None]
    observed, future = motion[:, :, :12], motion[:, :, 12:]
    mask = torch.ones(16, 1, 12, dtype=torch.bool)
    torch.manual_seed(0)
    model = HiTRSForMotionPrediction(HiTRSConfig(**SMALL, decoder_hidden_size=32)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    stays = (observed[:, :, -1:] - future).norm(dim=-1).mean()
    for _ in range(80):
        optimizer.zero_grad()
        loss = model(observed, mask, future_keypoints=future).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * stays


@pytest.mark.slow  # two minutes
def test_an_hour_is_detected_in_bounded_memory():
    torch.manual_seed(0)
    model = HiTRSForActionDetection(HiTRSConfig.from_preset("tiny", num_labels=52)).eval()
    frames = 108_000
    keypoints = np.random.default_rng(0).normal(size=(1, frames, 25, 3)).astype(np.float32)
    mask = np.ones((1, frames), dtype=bool)
    mask[:, 5000:6000] = False
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    probabilities = predict_frames(model, keypoints, mask)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before
    assert probabilities.shape == (frames, 52) and grown < 2**30
    with torch.no_grad():
        part = slice(50_000, 50_100)
        features = model.hitrs.get_frame_features(torch.from_numpy(keypoints[None, :, 49_994:50_106]))
        expected = model.classifier(features)[0, 6:-6].softmax(dim=-1).numpy()
    np.testing.assert_allclose(probabilities[part], expected, atol=1e-5)
