import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skeleton_transformers import HiCoConfig, HiCoForActionRecognition, HiCoForPreTraining, HiCoModel
from skeleton_transformers.data.geometry import resize_frames
from skeleton_transformers.modeling_attention import LayerRecord


SMALL = {
    "branch_size": 16,
    "intermediate_size": 16,
    "projection_hidden_size": 16,
    "projection_size": 8,
    "queue_size": 16,
}


def make(model_class=HiCoModel, seed=0, **fields):
    torch.manual_seed(seed)
    return model_class(HiCoConfig.from_preset("tiny", **{**SMALL, **fields})).eval()


def views(batch=4, frames=20, seed=1):
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.randn(2, batch, 2, frames, 25, 3, generator=generator)
    mask = torch.ones(batch, 2, frames, dtype=torch.bool)
    mask[0, 1] = False
    keypoints = keypoints * mask[..., None, None]
    return {"keypoints": keypoints[0], "frame_mask": mask, "second_keypoints": keypoints[1], "second_frame_mask": mask}


# ---------------------------------------------------------------------------------------------------------------------
# Encoder


@pytest.mark.parametrize("encoder", ["transformer", "gru", "lstm"])
def test_granularities_halve_clips_and_parts(encoder):
    model = make(encoder=encoder, num_frames=64)
    with torch.no_grad():
        output = model(torch.randn(2, 2, 64, 25, 3), output_hidden_states=True)
    layers = 2  # tokens, and what the encoder makes of them
    assert [states.shape[1] for states in output.hidden_states[::layers]] == [64, 32, 16, 8, 50, 25, 12, 6]
    assert output.clip_hidden_state.shape == output.part_hidden_state.shape == (2, 4, 16)
    pooled = torch.cat([output.clip_hidden_state.flatten(1), output.part_hidden_state.flatten(1)], dim=1)
    assert torch.equal(output.pooler_output, pooled)
    # a granularity is the maximum over what the encoder made of its tokens
    for number, sums in enumerate([*output.clip_hidden_state.unbind(1), *output.part_hidden_state.unbind(1)]):
        torch.testing.assert_close(output.hidden_states[layers * number + 1].amax(dim=1), sums)


def test_a_granularity_comes_from_the_tokens_not_from_the_encoder():
    model = make().temporal
    inputs, mask = torch.randn(2, 32, 150), torch.ones(2, 32, dtype=torch.bool)
    with torch.no_grad():
        before, _ = model(inputs, mask, LayerRecord())
        record = LayerRecord(hidden_states=[])
        model(inputs, mask, record)
        tokens = [record.hidden_states[0]]
        for _ in range(3):
            states, kept = model.downsampling(tokens[-1], torch.ones(tokens[-1].shape[:2], dtype=torch.bool))
            assert kept.all()
            tokens.append(states)
    for ours, expected in zip(record.hidden_states[::2], tokens, strict=True):
        torch.testing.assert_close(ours, expected)
    assert before.shape == (2, 4, 16)


def test_any_length_is_resized_like_the_feature_extractor_does():
    model = make()
    keypoints, mask = torch.randn(1, 2, 57, 25, 3), torch.ones(1, 2, 57, dtype=torch.bool)
    mask[0, 1, 20:] = False
    keypoints = keypoints * mask[..., None, None]
    resized, resized_mask = resize_frames(keypoints[0].numpy(), mask[0].numpy(), 32)
    with torch.no_grad():
        output = model(keypoints, mask)
        expected = model(torch.from_numpy(resized)[None], torch.from_numpy(resized_mask)[None])
    torch.testing.assert_close(output.pooler_output, expected.pooler_output, atol=1e-5, rtol=1e-4)
    assert torch.equal(output.step_mask, torch.from_numpy(resized_mask)[None])


def test_persons_take_the_first_places():
    model = make()
    keypoints = torch.randn(1, 1, 32, 25, 3)
    mask = torch.ones(1, 1, 32, dtype=torch.bool)
    later = torch.nn.functional.pad(keypoints, (0, 0, 0, 0, 0, 0, 2, 1))
    with torch.no_grad():
        expected = model(keypoints, mask).pooler_output
        actual = model(later, torch.nn.functional.pad(mask, (0, 0, 2, 1))).pooler_output
    torch.testing.assert_close(actual, expected)


def test_too_many_persons_are_named():
    with pytest.raises(ValueError, match="sample 0 of the batch has 3 persons.*num_persons=2.*max_persons"):
        make()(torch.randn(1, 3, 32, 25, 3))


@pytest.mark.parametrize("branch", ["temporal", "spatial"])
def test_a_branch_alone_is_that_branch_of_both(branch):
    both, alone = make(), make(branches=branch)
    weights = {name: tensor for name, tensor in both.state_dict().items() if name.startswith(branch)}
    assert alone.load_state_dict(weights) and len(weights) < len(both.state_dict())
    data = {name: tensor for name, tensor in views().items() if not name.startswith("second")}
    with torch.no_grad():
        expected, output = both(**data), alone(**data)
    half = 4 * 16
    assert alone.config.hidden_size == half and output.pooler_output.shape == (4, half)
    parts = {"temporal": expected.pooler_output[:, :half], "spatial": expected.pooler_output[:, half:]}
    assert torch.equal(output.pooler_output, parts[branch])
    if branch == "temporal":
        assert output.part_hidden_state is None and torch.equal(output.last_hidden_state, expected.last_hidden_state)
        return
    # no frames: one step for everybody who is there
    assert output.clip_hidden_state is None and output.step_mask[:, :, 0].tolist() == [[True, False]] + 3 * [
        [True] * 2
    ]
    assert torch.equal(output.last_hidden_state[1, 1, 0], expected.part_hidden_state[1, 0])


@pytest.mark.parametrize("encoder", ["transformer", "gru"])
def test_masked_frames_and_persons_count_only_as_in_the_released_code(encoder):
    """Frames of a gap are no tokens; with `ignore_absent_person=False` they are tokens of zeros."""
    keypoints, mask = torch.randn(1, 1, 32, 25, 3), torch.ones(1, 1, 32, dtype=torch.bool)
    mask[:, :, 10:14] = False
    results = []
    for ignore in (True, False):
        model = make(encoder=encoder, ignore_absent_person=ignore, num_granularities=1)
        with torch.no_grad():
            output = model(keypoints, mask, output_hidden_states=True)
            frames = output.hidden_states[0]
            without_gap = torch.cat([frames[:, :10], frames[:, 14:]], dim=1)
            expected = model.temporal.encoder(without_gap, mask[:, 0, :28] | True, LayerRecord()).amax(dim=1)
            joints = output.hidden_states[2][:, :25]
            expected_joints = model.spatial.encoder(joints, torch.ones(1, 25, dtype=torch.bool), LayerRecord()).amax(
                dim=1
            )
        close = torch.allclose(output.clip_hidden_state[:, 0], expected, atol=1e-5)
        close_joints = torch.allclose(output.part_hidden_state[:, 0], expected_joints, atol=1e-5)
        results.append((close, close_joints))
    assert results == [(True, True), (False, False)]


def test_a_person_seen_in_one_frame_of_a_very_long_sequence_gives_a_number():
    keypoints, mask = torch.zeros(1, 1, 900, 25, 3), torch.zeros(1, 1, 900, dtype=torch.bool)
    keypoints[:, :, 899], mask[:, :, 899] = 1.0, True
    with torch.no_grad():
        assert torch.isfinite(make()(keypoints, mask).pooler_output).all()


def test_other_layouts_persons_and_frames():
    model = make(layout="coco17", num_channels=2, num_persons=1, num_frames=24, num_granularities=3)
    with torch.no_grad():
        assert model(torch.randn(2, 1, 30, 17, 2)).pooler_output.shape == (2, 2 * 3 * 16)


def test_matrices_start_as_in_the_released_code():
    """Xavier for every matrix, the three of attention as one; biases of attention 0; the classifier small."""
    model = make(HiCoForActionRecognition, branch_size=64, num_labels=60)
    layer = model.hico.temporal.encoder.layers[0]
    matrix = layer.attention.query_key_value.weight
    assert matrix.abs().max().item() == pytest.approx((6 / (64 + 192)) ** 0.5, rel=0.01)
    assert not layer.attention.query_key_value.bias.any() and not layer.attention.output.bias.any()
    assert layer.intermediate.bias.any()
    dense = model.hico.temporal.embeddings.dense
    assert dense.weight.abs().max().item() == pytest.approx((6 / (150 + 64)) ** 0.5, rel=0.01)
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05) and not model.classifier.bias.any()
    rnn = make(encoder="gru", branch_size=64).temporal.encoder.layers.rnn
    assert rnn.weight_hh_l0.abs().max().item() == pytest.approx((6 / (96 + 32)) ** 0.5, rel=0.01)
    assert rnn.bias_hh_l0.abs().max().item() == pytest.approx(32**-0.5, rel=0.05)


# ---------------------------------------------------------------------------------------------------------------------
# Pre-training


def test_the_key_encoder_starts_as_a_copy_also_of_loaded_weights(tmp_path):
    model = make(HiCoForPreTraining)
    encoder = make(HiCoModel, seed=3)
    encoder.save_pretrained(tmp_path / "encoder")
    model.save_pretrained(tmp_path / "whole")
    for each in (
        model,
        HiCoForPreTraining.from_pretrained(tmp_path / "encoder"),
        HiCoForPreTraining.from_pretrained(tmp_path / "whole"),
    ):
        for ours, key in ((each.hico, each.key_encoder), (each.projections, each.key_projections)):
            for name, tensor in key.network.state_dict().items():
                assert torch.equal(tensor, ours.state_dict()[name]), name
            assert key.num_updates.item() == 0
        for queue in each.queues.values():
            torch.testing.assert_close(queue.features.norm(dim=1), torch.ones(len(queue.features)))
            assert queue.pointer.item() == 0


def test_the_state_of_a_run_is_not_published(tmp_path):
    from safetensors.torch import load_file

    make(HiCoForPreTraining).save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert {name.split(".")[0] for name in names} == {"hico", "projections"}


@pytest.mark.parametrize("encoder", ["transformer", "gru"])
def test_only_the_query_learns(encoder):
    model = make(HiCoForPreTraining, encoder=encoder).train()
    model(**views()).loss.backward()
    for name, parameter in model.named_parameters():
        if name.startswith(("hico.", "projections.")):
            assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), name
        else:
            assert parameter.grad is None and not parameter.requires_grad, name


def test_the_loss_is_the_sum_of_the_weighted_contrasts():
    model = make(HiCoForPreTraining, clip_loss_weight=0.5, domain_loss_weight=2.0)
    with torch.no_grad():
        output = model(**views())
    total = output.instance_loss + 2 * output.domain_loss + 0.5 * output.clip_loss + output.part_loss
    torch.testing.assert_close(output.loss, total)


def test_every_contrast_is_wired_as_in_the_paper():
    """All losses by hand: cross-domain positives and queues, one query against the keys of all granularities."""
    model, data = make(HiCoForPreTraining), views()
    unit = torch.nn.functional.normalize
    with torch.no_grad():
        output = model(**data)
        query = model.projections(model.hico(data["keypoints"], data["frame_mask"]))
        key = model.projections(model.hico(data["second_keypoints"], data["second_frame_mask"]))
    query = {name: unit(tensor, dim=-1) for name, tensor in query.items()}
    key = {name: unit(tensor, dim=-1) for name, tensor in key.items()}
    queue = {name: each.features for name, each in model.queues.items()}

    def loss(one, positives, negatives):
        logits = torch.cat([(one[:, None] * positives).sum(-1), one @ negatives.T], dim=1) / 0.2
        return -logits.softmax(1)[:, : positives.shape[1]].sum(1).log().mean()

    close = torch.testing.assert_close
    close(output.instance_loss, loss(query["instance"], key["instance"][:, None], queue["instance"]))
    to_space = loss(query["temporal"], key["spatial"][:, None], queue["spatial"])
    to_time = loss(query["spatial"], key["temporal"][:, None], queue["temporal"])
    close(output.domain_loss, to_space + to_time)
    close(output.clip_loss, loss(query["clip"][:, 0], key["clip"], queue["clip"]))
    close(output.part_loss, loss(query["part"][:, 0], key["part"], queue["part"]))
    assert queue["clip"].shape == (4 * 16, 8) and queue["instance"].shape == (16, 8)

    # the queues of the two domains are not interchangeable
    queues = model.queues
    queues["temporal"].features, queues["spatial"].features = queues["spatial"].features, queues["temporal"].features
    with torch.no_grad():
        assert abs(model(**data).domain_loss - output.domain_loss) > 1e-4


def test_queues_hold_the_keys_after_the_step_and_lose_what_they_began_with():
    model, data = make(HiCoForPreTraining).train(), views()
    initial = {name: queue.candidates() for name, queue in model.queues.items()}
    model.follow = lambda: None  # the key encoder stays where it is, and there is no dropout in what follows
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    first = model(**data)
    with torch.no_grad():
        key = model.key_projections(model.key_encoder(data["second_keypoints"], data["second_frame_mask"]))
    for name, features in key.items():
        rows = torch.nn.functional.normalize(features.flatten(0, -2), dim=1)
        torch.testing.assert_close(model.queues[name].features[: len(rows)], rows)
        assert torch.equal(model.queues[name].features[len(rows) :], initial[name][len(rows) :])
    assert model(**data).loss > first.loss  # now each query meets its own key among the negatives
    for seed in range(2, 4):  # 16 sequences in all, four at a time
        model(**views(seed=seed))
    for name, queue in model.queues.items():
        assert not (queue.features == initial[name]).all(dim=1).any(), name


def test_the_legacy_pointer_reproduces_the_released_code():
    model = make(HiCoForPreTraining, legacy_queue_pointer=True).train()
    initial = {name: queue.candidates() for name, queue in model.queues.items()}
    for seed in range(8):
        model(**views(seed=seed))
    for name, queue in model.queues.items():
        kept = (queue.features == initial[name]).all(dim=1)
        assert not kept[:16].any() and kept[16:].all(), name


def test_evaluation_changes_neither_queues_nor_key_encoder():
    model = make(HiCoForPreTraining)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(model(**views()).loss, model(**views()).loss)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("update", ["before_encoding", "after_step"])
def test_the_key_encoder_follows_when_it_is_told_to(update):
    model = make(HiCoForPreTraining, momentum=0.5, momentum_update=update).train()
    with torch.no_grad():
        for parameter in [*model.hico.parameters(), *model.projections.parameters()]:
            parameter.add_(1.0)
    start = [parameter.clone() for parameter in model.key_encoder.parameters()]
    model(**views())
    moved = [parameter - before for parameter, before in zip(model.key_encoder.parameters(), start, strict=True)]
    expected = 0.5 if update == "before_encoding" else 0.0
    assert all(torch.allclose(change, torch.full_like(change, expected), atol=1e-6) for change in moved)
    model.after_optimizer_step()
    assert model.key_encoder.num_updates.item() == model.key_projections.num_updates.item() == 1


def test_a_task_of_weight_zero_is_not_computed():
    model = make(HiCoForPreTraining, part_loss_weight=0, domain_loss_weight=0).train()
    output = model(**views())
    assert output.part_loss is None and output.domain_accuracy is None
    assert model.metrics == ["loss", "instance_loss", "instance_accuracy", "clip_loss", "clip_accuracy"]
    assert model.has_idle_parameters and not make(HiCoForPreTraining).has_idle_parameters
    nothing = {f"{task}_loss_weight": 0 for task in ("instance", "domain", "clip", "part")}
    with pytest.raises(ValueError, match="all pre-training losses have weight 0"):
        make(HiCoForPreTraining, **nothing)(**views())


@pytest.mark.parametrize("branch, level, others", [("temporal", "clip", "part"), ("spatial", "part", "clip")])
def test_one_branch_is_pretrained_without_what_the_other_one_has(branch, level, others):
    absent = {"domain_loss_weight": 0, f"{others}_loss_weight": 0}
    model = make(HiCoForPreTraining, branches=branch, **absent).train()
    assert list(model.queues) == [name for name, _ in model.projections.named_children()] == ["instance", level]
    output = model(**views())
    torch.testing.assert_close(output.loss.detach(), output.instance_loss + getattr(output, f"{level}_loss"))
    output.loss.backward()
    learnt = [*model.hico.named_parameters(), *model.projections.named_parameters()]
    assert all(parameter.grad is not None and parameter.grad.any() for _, parameter in learnt)
    with pytest.raises(ValueError, match=f"branches='{branch}'.* domain_loss_weight and {others}_loss_weight .*to 0"):
        make(HiCoForPreTraining, branches=branch)


def test_random_keys_give_the_logarithm_of_the_candidates():
    model = make(HiCoForPreTraining, temperature=100.0)
    with torch.no_grad():
        output = model(**views())
    candidates = torch.tensor([1 + 16, 4 + 64])
    assert output.instance_loss.item() == pytest.approx(candidates[0].log().item(), abs=0.02)
    assert output.clip_loss.item() == pytest.approx((candidates[1] / 4).log().item(), abs=0.02)


def test_overfitting_lowers_every_loss():
    model = make(HiCoForPreTraining, hidden_dropout_prob=0.0, momentum=0.9, temperature=0.1).train()
    data = views(batch=8)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=3e-3)
    names = ("instance_loss", "domain_loss", "clip_loss", "part_loss")
    negatives = {name: queue.candidates() for name, queue in model.queues.items()}
    history = []
    for _ in range(100):
        output = model(**data)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        for name, queue in model.queues.items():  # the negatives stay other sequences
            queue.features.copy_(negatives[name])
        history.append([getattr(output, name).item() for name in names])
    for name, first, last in zip(names, history[0], history[-1], strict=True):
        assert last < 0.5 * first, f"{name} went from {first} to {last}"


def test_two_processes_give_the_gradients_keys_and_queues_of_one():
    script = Path(__file__).with_name("two_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal to one process") == 2
