"""The same numbers as the original classes, run once on the same weights and inputs."""

import pytest
import torch

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition, HiTRSForPreTraining
from skeleton_transformers.models.hitrs.convert_hitrs_original import original_to_hitrs
from skeleton_transformers.objectives.info_nce import info_nce


@pytest.fixture(scope="module")
def run(original_state_dict, golden_input):
    """Runs the stages of our models on the explicit clips of the golden values: (2, 5, 7, 2, 25, 3), some clips padded."""
    weights = original_to_hitrs(original_state_dict())
    config = HiTRSConfig.from_preset("original", num_labels=60)
    recognition = HiTRSForActionRecognition(config).eval()
    assert not recognition.load_state_dict(weights, strict=False).missing_keys
    pretraining = HiTRSForPreTraining(config).eval()
    assert not pretraining.load_state_dict(weights, strict=False).missing_keys
    heads, model = pretraining.pretraining, recognition.hitrs
    clips = golden_input(2, 5, 7, 2, 25, 3).permute(0, 3, 1, 2, 4, 5)  # (batch, persons, clips, frames, joints, xyz)
    mask = torch.ones(2, 2, 5, dtype=torch.bool)
    mask[1, :, 3:] = False
    with torch.no_grad():
        frames = model.frame(clips.reshape(-1, 25, 3))
        clip = model.clip(frames, torch.arange(2 * 2 * 5 * 7).view(-1, 7)).view(2, 2, 5, 256)
        _, video = model.video(clip.flatten(0, 1), mask.flatten(0, 1))
        pooled = model.pool(video.view(2, 2, 512), torch.ones(2, 2, dtype=torch.bool))
        return {
            "logits[B=2,C=60]": recognition.classifier(pooled),
            "frame_features": frames,
            "clip_features": clip,
            "video_features": video,
            "pose_reg": heads.coordinate_head(frames),
            "v_ft_reg": heads.next_clip_head(video),
        }


@pytest.mark.parametrize(
    "name", ["logits[B=2,C=60]", "frame_features", "clip_features", "video_features", "pose_reg", "v_ft_reg"]
)
def test_every_level_equals_the_original(name, run, golden):
    expected, actual = golden["hitrs"][name], run[name]
    assert actual.numel() == expected["numel"]
    torch.testing.assert_close(actual.flatten()[:8], torch.tensor(expected["first8"]), atol=2e-4, rtol=0)
    assert actual.sum().item() == pytest.approx(expected["sum"], rel=1e-3, abs=2e-4)
    assert actual.abs().mean().item() == pytest.approx(expected["abs_mean"], rel=1e-3)


def test_contrast_equals_the_original(golden, golden_input):
    expected = golden["losses"]["hitrs_nce(pred=inp(4,256),gt=inp(4,256,f=.2),T=.07)"]
    loss, _ = info_nce(golden_input(4, 256), golden_input(4, 256, f=0.2), temperature=0.07)
    assert loss.item() == pytest.approx(expected, abs=2e-4)


def test_masked_joint_loss_equals_the_original(golden, golden_input):
    expected = golden["losses"]["hitrs_pose(pred=inp(2,10,25,3),label=inp(f=.2),x10,mask i%7==0)"]
    model = HiTRSForPreTraining(HiTRSConfig.from_preset("tiny"))
    selected = torch.arange(2 * 10 * 25) % 7 == 0
    prediction, target = golden_input(500, 3)[selected], golden_input(500, 3, f=0.2)[selected]
    loss, error = model.spatial_task(prediction, target)
    assert loss.item() == pytest.approx(expected, abs=2e-4)
    assert error.item() == pytest.approx((prediction - target).norm(dim=-1).mean().item())
