import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skeleton_transformers import MAMPConfig, MAMPForActionRecognition, MAMPForPreTraining, MAMPModel
from skeleton_transformers.data.datasets import SampleKey
from skeleton_transformers.data.token_noise_collator import TokenNoiseCollator
from skeleton_transformers.models.mamp.modeling_mamp import make_target


def make(model_class=MAMPForPreTraining, seed=0, **fields):
    torch.manual_seed(seed)
    return model_class(MAMPConfig.from_preset("tiny", **fields)).eval()


def batch(config, rows=3, frames=50, seed=1):
    """One person alone; two, one of whom comes late; one with a joint that is never found."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.randn(rows, 2, frames, 25, 3, generator=generator)
    mask = torch.zeros(rows, 2, frames, dtype=torch.bool)
    mask[:, 0] = True
    mask[1::3, 1, 30:] = True
    keypoints[2::3, :, :, 7] = 0
    noise = torch.rand(rows, 2, config.num_segments, 25, generator=generator)
    return {"keypoints": keypoints * mask[..., None, None], "frame_mask": mask, "noise": noise}


def test_the_loss_by_hand():
    """Mean over masked tokens of the squared difference to the normalised motion; numpy, token by token."""
    model = make(MAMPForPreTraining)
    data = batch(model.config, rows=2, frames=32)
    with torch.no_grad():
        output = model(**data)
    errors = []
    for row in range(2):
        for person in range(2):
            poses, there = data["keypoints"][row, person].numpy(), data["frame_mask"][row, person].numpy()
            motion = np.zeros_like(poses)
            both = there[1:] & there[:-1]
            motion[:-1][both] = (poses[1:] - poses[:-1])[both]
            for segment in range(8):
                for joint in range(25):
                    if not output.masked_tokens[row, person, segment, joint]:
                        continue
                    values = motion[4 * segment : 4 * segment + 4, joint].reshape(12)
                    target = (values - values.mean()) / np.sqrt(values.var(ddof=1) + 1e-6)
                    predicted = output.predicted_values[row, person, segment, joint].numpy()
                    errors.append(((predicted - target) ** 2).mean())
    assert len(errors) == 2 * (200 - 19) + 25 - 2  # a tenth of them, rounded down, is visible
    assert output.loss.item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_the_target_ends_at_rest_and_the_baseline_predicts_coordinates():
    from skeleton_transformers.models.segment_layers import make_tokens

    config = MAMPConfig.from_preset("tiny", norm_target=False)
    data = batch(config, frames=32)
    tokens = make_tokens(config, data["keypoints"], data["frame_mask"])
    motion = make_target(config, tokens)  # of a token: the frames of its segment, x y z each
    assert not motion[:, :, -1, :, -3:].any() and motion[:, 0, -1, :7, :-3].all()
    config.target = "coordinates"
    assert torch.equal(make_target(config, tokens), tokens.values)
    # a person who appears has not moved, and a joint that was not found neither
    assert data["frame_mask"][1, 1].nonzero()[0] == 30 and motion[1, 1, 7, :, 6:9].all()
    assert not motion[1, 1, 7, :, 3:6].any() and not motion[2, 0, :, 7].any()


def test_nine_tokens_out_of_ten_are_masked():
    config = MAMPConfig(hidden_size=8, num_layers=1, intermediate_size=8, num_decoder_layers=1)
    model = MAMPForPreTraining(config).eval()
    keypoints = torch.randn(2, 1, 100, 25, 3)
    with torch.no_grad():
        output = model(keypoints, None, torch.rand(2, 1, 30, 25))
    assert output.masked_tokens.flatten(1).sum(dim=1).tolist() == [676, 676]


def test_the_encoder_computes_visible_tokens_only():
    model, seen = make(), []
    model.mamp.layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    model.decoder.layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    with torch.no_grad():
        model(**batch(model.config))
    # four persons, not six; 200 tokens of which a tenth is visible, and all that there are in the decoder
    assert [tuple(shape) for shape in seen] == [(4, 19, 32), (4, 200, 32)]


@pytest.mark.parametrize("attention", ["joint", "spatial", "temporal"])
def test_packed_tokens_are_the_full_computation_with_masks(attention):
    """Encoder: all tokens in the input, the ones that do not count hidden by a mask in attention."""
    from skeleton_transformers.models.segment_layers import choose_visible, make_tokens, to_rows

    model = make(attention=attention, mask_ratio=0.5)
    data = batch(model.config)
    tokens = make_tokens(model.config, data["keypoints"], data["frame_mask"])
    visible = choose_visible(model.config, tokens.values, tokens.mask, data["noise"])
    encoder = model.mamp
    with torch.no_grad():
        packed = encoder.encode(tokens.values, visible)
        states, rows = to_rows(encoder.embeddings(tokens.values), attention), to_rows(visible, attention)
        states, rows = states[rows.any(dim=1)], rows[rows.any(dim=1)]
        for layer in encoder.layers:
            states, _ = layer(states, rows[:, None, None])
        states = encoder.layernorm(states)[rows]
    assert not packed[~visible].any()
    torch.testing.assert_close(to_rows(packed, attention)[to_rows(visible, attention)], states, atol=1e-5, rtol=1e-4)


def test_padding_batch_mates_and_absent_persons_do_not_change_predictions():
    model = make()
    data = batch(model.config)
    with torch.no_grad():
        together = model(**data)
        one = {name: tensor[1:2] for name, tensor in data.items()}
        one["keypoints"] = torch.nn.functional.pad(one["keypoints"], (0, 0, 0, 0, 0, 9, 0, 1), value=float("nan"))
        one["frame_mask"] = torch.nn.functional.pad(one["frame_mask"], (0, 9, 0, 1))
        one["noise"] = torch.nn.functional.pad(one["noise"], (0, 0, 0, 0, 0, 1))
        alone = model(**one)
    assert torch.equal(alone.masked_tokens[0, :2], together.masked_tokens[1])
    masked = together.masked_tokens[1]
    torch.testing.assert_close(
        alone.predicted_values[0, :2][masked], together.predicted_values[1][masked], atol=1e-5, rtol=1e-4
    )


def test_sequences_that_are_not_resized_keep_their_pace():
    model = make(MAMPModel, resize=False, num_frames=64)
    data = batch(model.config, frames=50)
    with torch.no_grad():
        output = model(data["keypoints"], data["frame_mask"])
        cut = model(data["keypoints"][..., :48, :, :], data["frame_mask"][..., :48])
    assert output.step_mask[0, 0].tolist() == 13 * [True] + 3 * [False]
    assert not torch.allclose(cut.pooler_output, output.pooler_output)
    with pytest.raises(ValueError, match="sample 0 of the batch has 70 frames, but with resize=False.*num_frames=64"):
        model(torch.randn(1, 1, 70, 25, 3))


def test_a_joint_that_was_not_found_is_no_token():
    model = make(MAMPModel)
    keypoints = torch.randn(1, 1, 32, 25, 3)
    keypoints[..., 7, :] = 0
    mask = torch.ones(1, 1, 32, dtype=torch.bool)
    with torch.no_grad():
        output = model(keypoints, mask)
        nothing = model(torch.zeros_like(keypoints), mask)
    assert output.token_mask.sum().item() == 8 * 24 and not output.token_mask[..., 7].any()
    assert nothing.token_mask.all()  # somebody is there


def test_the_means_of_both_classifiers():
    model = make(MAMPForActionRecognition, num_labels=5)
    data = batch(model.config)
    with torch.no_grad():
        output = model.mamp(data["keypoints"], data["frame_mask"])
        logits = model(data["keypoints"], data["frame_mask"]).logits
        tokens, mask = output.token_hidden_state, output.token_mask
        for row in range(3):
            persons = []
            for person in range(2):
                if mask[row, person].any():
                    joints = [tokens[row, person, mask[row, person, :, v], v].sum(dim=0) for v in range(25)]
                    counts = [max(1, int(mask[row, person, :, v].sum())) for v in range(25)]
                    persons.append(torch.cat([total / n for total, n in zip(joints, counts, strict=True)]))
            head, mean = model.classifier, torch.stack(persons).mean(dim=0)[None]
            expected = head.output(torch.relu(head.norm(head.dense(mean))))[0]
            torch.testing.assert_close(logits[row], expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(output.pooler_output[row], tokens[row][mask[row]].mean(dim=0))


def test_a_last_batch_of_one_trains():
    model = make(MAMPForActionRecognition, num_labels=5).train()
    loss = model(torch.randn(1, 1, 32, 25, 3), labels=torch.tensor([2])).loss
    loss.backward()
    assert torch.isfinite(loss) and model.classifier.norm.num_batches_tracked == 0


def test_weights_start_as_in_the_released_code():
    model = make(MAMPForActionRecognition, num_labels=60, hidden_size=64)
    bound = (6 / (64 + 3 * 64)) ** 0.5
    assert model.mamp.layers[0].attention.query_key_value.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert model.mamp.embeddings.projection.weight.abs().max().item() == pytest.approx(12**-0.5, rel=0.02)
    assert model.mamp.embeddings.projection.bias.any() and not model.classifier.output.bias.any()
    assert model.mamp.embeddings.positions.joint_embeddings.std().item() == pytest.approx(0.02, rel=0.1)
    probe = make(MAMPForActionRecognition, num_labels=60, hidden_size=64, classifier="linear").classifier.output
    assert probe.weight.std().item() == pytest.approx(0.01, rel=0.1) and not probe.bias.any()
    assert make().decoder.mask_token.any()


def test_stochastic_depth_grows_and_drops_rows():
    model = make(MAMPModel, drop_path_rate=0.3, num_layers=4)
    assert [layer.drop_path.p for layer in model.layers] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    drop = model.layers[3].drop_path.train()
    dropped = drop(torch.ones(4000, 2, 3))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_tokens_that_move_are_masked_more_often():
    model = make(mask_ratio=0.5, motion_temperature=0.3)
    keypoints = torch.randn(1, 1, 32, 25, 3, generator=torch.Generator().manual_seed(2))
    keypoints[:, :, :, :12] = keypoints[:, :, :1, :12]  # twelve joints at rest
    keypoints = keypoints.expand(200, -1, -1, -1, -1)
    noise = torch.rand(200, 1, 8, 25, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        masked = model(keypoints, None, noise).masked_tokens.float()
        model.config.motion_temperature = 0.0
        uniform = model(keypoints, None, noise).masked_tokens.float()
    assert masked[..., 12:].mean() > 0.6 and masked[..., :12].mean() < 0.4
    assert uniform[..., 12:].mean().item() == pytest.approx(0.5, abs=0.02)
    assert uniform.mean(dim=0).sub(0.5).abs().max() < 0.2  # every token alike


def test_the_collator_draws_the_same_numbers_for_the_same_items():
    items = [
        {
            "keypoints": np.ones((1 + n, 20 + n, 25, 3), np.float32),
            "frame_mask": np.ones((1 + n, 20 + n), bool),
            "key": SampleKey(n, 3),
        }
        for n in range(2)
    ]
    config = MAMPConfig.from_preset("tiny")
    collator = TokenNoiseCollator.from_config(config, seed=5)
    first, second = collator(items), TokenNoiseCollator.from_config(config, seed=5)(items)
    assert {name: (tuple(t.shape), t.dtype) for name, t in first.items()} == {
        "keypoints": ((2, 2, 21, 25, 3), torch.float32),
        "frame_mask": ((2, 2, 21), torch.bool),
        "noise": ((2, 2, 8, 25), torch.float32),
    }
    assert all(torch.equal(first[name], second[name]) for name in first)
    later = collator([{**item, "key": SampleKey(n, 4)} for n, item in enumerate(items)])
    assert not torch.equal(first["noise"], later["noise"])
    assert 0 <= first["noise"].min() and first["noise"].max() < 1
    with torch.no_grad():
        assert torch.isfinite(make()(**first).loss)


def test_overfitting_lowers_the_loss():
    model = make(mask_ratio=0.6, num_frames=16).train()
    data = batch(model.config, rows=4, frames=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(120):
        loss = model(**data).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"segment_length": 5}, "num_frames=32 is not divisible into segments of segment_length=5"),
        ({"num_attention_heads": 3}, "hidden_size=32 is not divisible by num_attention_heads=3"),
        ({"attention": "full"}, "attention must be one of joint, spatial, temporal; got 'full'"),
        ({"target": "speed"}, "target must be one of motion, coordinates; got 'speed'"),
        ({"mask_ratio": 1.0}, "mask_ratio must lie between 0 and 1, got 1.0"),
        ({"motion_temperature": -1}, "motion_temperature must not be negative, got -1"),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"drop_path_rate": 1}, "drop_path_rate must lie in"),
    ],
)
def test_fields_that_contradict_are_named(fields, message):
    with pytest.raises(Exception, match=message):
        MAMPConfig.from_preset("tiny", **fields)
    with pytest.raises(ValueError, match="MAMPConfig has no preset 'huge'; presets are tiny, small, base"):
        MAMPConfig.from_preset("huge")


def test_two_processes_give_the_gradients_of_one():
    script = Path(__file__).with_name("two_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal to one process") == 2
