import numpy as np
import pytest
import torch

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition, HiTRSForPreTraining, HiTRSModel
from skeleton_transformers.data.clips import clip_frame_indices, number_of_clips
from skeleton_transformers.data.pretraining_collators import HiTRSPreTrainingCollator
from skeleton_transformers.models.hitrs.modeling_hitrs import HiTRSEncoder, clip_windows, pack_frames
from skeleton_transformers.training.optimization import parameter_groups


COMPONENTS = ("spatial", "clip_order", "video_order", "next_clip")


def tiny(model_class, seed=0, **options):
    torch.manual_seed(seed)
    return model_class(HiTRSConfig.from_preset("tiny", **options)).eval()


def pretraining_batch(lengths=(20, 41, 33, 60), joints=25, seed=0):
    rng = np.random.default_rng(seed)
    items, rest = [], np.random.default_rng(9).standard_normal((joints, 3))
    for row, length in enumerate(lengths):
        phase = rng.uniform(0, 6, size=(joints, 3))
        time = np.arange(length)[:, None, None] / rng.uniform(2, 8)
        items.append(
            {
                "keypoints": (rest + 0.3 * phase + 0.3 * np.sin(time + phase)).astype(np.float32)[None],
                "frame_mask": np.ones((1, length), dtype=bool),
                "key": (row, 0),
            }
        )
    return HiTRSPreTrainingCollator(seed=seed)(items)


# ---------------------------------------------------------------------------------------------------------------------
# Parameters


@pytest.mark.parametrize(
    "preset, encoder, pretraining", [("base", 6_917_888, 7_051_143), ("paper", 4_717_440, 4_850_695)]
)
def test_parameter_counts_are_those_of_the_release(preset, encoder, pretraining):
    config = HiTRSConfig.from_preset(preset, num_labels=60)
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in model_class(config).parameters())
            for model_class in (HiTRSModel, HiTRSForPreTraining, HiTRSForActionRecognition)
        ]
    assert counts == [encoder, pretraining, encoder + 512 * 60 + 60]


def test_the_released_model_has_129_tensors_of_which_61_decay():
    with torch.device("meta"):
        model = HiTRSForPreTraining(HiTRSConfig())
    decayed, kept = (group["params"] for group in parameter_groups(model, 0.01))
    assert (len(decayed), len(kept)) == (61, 68)
    assert sum(p.numel() for p in decayed) == 6_883_584


def test_parameters_per_layer():
    with torch.device("meta"):
        model = HiTRSModel(HiTRSConfig())
    counts = [sum(p.numel() for p in level.layers[0].parameters()) for level in (model.frame, model.clip, model.video)]
    assert counts == [295_680, 591_232, 1_313_536]


def test_position_tables_and_tokens_start_as_in_the_release():
    model = HiTRSModel(HiTRSConfig())
    frame, clip = model.frame.embeddings.position_embeddings, model.clip.embeddings.position_embeddings
    expected = [
        (frame[1, :4], (0.8415, 0.5403, 0.7617, 0.6479)),
        (clip[2, 3, :4], (0.1411, -0.9900, 0.5173, -0.8558)),
        (clip[2, 3, 128:132], (0.9093, -0.4161, 0.9870, -0.1604)),
    ]
    for actual, values in expected:
        torch.testing.assert_close(actual.detach(), torch.tensor(values), atol=1e-4, rtol=0)
    for token in (model.clip.embeddings.cls_token, model.video.embeddings.cls_token):
        assert 0 <= token.min() < 0.1 and 0.9 < token.max() < 1
    weight, bias = model.frame.layers[0].intermediate.weight, model.frame.layers[0].intermediate.bias
    assert 0.9 < weight.abs().max() * 128**0.5 <= 1 and 0.9 < bias.abs().max() * 128**0.5 <= 1


def test_normal_positions():
    positions = tiny(HiTRSModel, position_init="normal").video.embeddings.position_embeddings
    assert positions.std().item() == pytest.approx(0.02, rel=0.05)


# ---------------------------------------------------------------------------------------------------------------------
# Clips, frames, attention


@pytest.mark.parametrize("rule", [(7, 7, 2), (7, 1, 2), (5, 5, 1), (7, 9, 2), (3, 2, 1), (1, 3, 1), (9, 4, 3)])
def test_windows_are_those_of_the_data_module(rule):
    config = HiTRSConfig.from_preset("tiny", clip_length=rule[0], clip_stride=rule[1], clip_dilation=rule[2])
    lengths = torch.arange(1, 100)
    windows, counts = clip_windows(config, lengths)
    assert counts.tolist() == number_of_clips(lengths.numpy(), *rule).tolist()
    for row, length in enumerate(lengths.tolist()):
        expected = clip_frame_indices(length, *rule)
        assert np.array_equal(windows[row, : len(expected)].numpy(), expected)
        assert (windows[row, len(expected) :] == -1).all()


def test_too_many_clips_are_an_error_with_a_remedy():
    model = tiny(HiTRSModel, max_clips=4)
    with pytest.raises(ValueError, match="35 frames has 5 clips.*max_clips=4.*max_frames"):
        model(torch.ones(1, 1, 35, 25, 3))
    # Padding does not count.
    mask = torch.zeros(1, 1, 35, dtype=torch.bool)
    mask[..., :28] = True
    assert model(torch.ones(1, 1, 35, 25, 3), mask).step_mask.shape == (1, 1, 4)


def test_packing():
    keypoints = torch.arange(2 * 1 * 3).view(2, 1, 3, 1, 1).float() + 1
    mask = torch.tensor([[[True, False, True]], [[False, True, False]]])
    frames, rows = pack_frames(keypoints, mask)
    assert frames.flatten().tolist() == [0, 1, 3, 5]
    assert rows.tolist() == [[[1, 0, 2]], [[0, 3, 0]]]


@pytest.mark.parametrize("mask_self", [False, True])
def test_a_joint_of_a_clip_sees_other_frames_and_the_class_token_but_no_joint_of_its_own_frame(mask_self):
    model = tiny(HiTRSModel, num_layers=1, mask_self=mask_self)
    clip = model.clip
    features = torch.randn(7, 25, 32, requires_grad=True)
    states = []
    clip.layers[0].register_forward_pre_hook(lambda module, arguments: states.append(arguments[0]))
    clip.layers[0].attention.register_forward_hook(lambda module, arguments, output: states.append(output[0]))
    from skeleton_transformers.models.hitrs.modeling_hitrs import LayerRecord

    clip(features, torch.arange(7)[None], LayerRecord(hidden_states=[]))
    tokens, attended = states  # attended: the attention branch alone, without the residual
    frame, joint = 3, 4
    (gradient,) = torch.autograd.grad(attended[0, frame * 25 + joint].sum(), tokens, retain_graph=True)
    seen = gradient[0].abs().sum(dim=-1) > 0
    expected = torch.ones(176, dtype=torch.bool)
    expected[frame * 25 : frame * 25 + 25] = False
    # With `mask_self` the token itself has no influence through attention.
    expected[frame * 25 + joint] = not mask_self
    assert torch.equal(seen | ~expected, torch.ones(176, dtype=torch.bool))
    others = torch.arange(176)[(torch.arange(176) // 25 == frame) & (torch.arange(176) != frame * 25 + joint)]
    assert not seen[others].any()
    (gradient,) = torch.autograd.grad(attended[0, 175].sum(), tokens)
    assert (gradient[0].abs().sum(dim=-1) > 0).all()


def test_the_mask_of_a_clip_has_the_published_number_of_pairs():
    forbidden = ~HiTRSModel(HiTRSConfig.from_preset("tiny")).clip.allowed_pairs()
    assert forbidden.sum() == 7 * 25 * 24
    assert not forbidden[175].any() and not forbidden[:, 175].any()


def test_one_query_is_computed_as_all_queries_are():
    layer = tiny(HiTRSModel).clip.layers[0]
    states = torch.randn(3, 176, 64)
    attended, _ = layer(states)
    last, _ = layer(states, None, True)
    torch.testing.assert_close(last, attended[:, -1:], atol=1e-5, rtol=1e-5)


def test_one_query_respects_layers_that_are_not_plain():
    class Adapted(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    layer = tiny(HiTRSModel).clip.layers[0]
    for name in ("key", "value"):
        adapted = Adapted(64, 64, bias=False)
        adapted.load_state_dict(getattr(layer.attention, name).state_dict())
        setattr(layer.attention, name, adapted)
    states = torch.randn(3, 176, 64)
    torch.testing.assert_close(layer(states, None, True)[0], layer(states)[0][:, -1:], atol=1e-5, rtol=1e-5)


def test_chunks_do_not_change_results_or_gradients(monkeypatch):
    model, keypoints = tiny(HiTRSModel, hidden_dropout_prob=0.0).train(), torch.randn(2, 2, 40, 25, 3)
    pooled, gradients = [], []
    for size in (2**30, 10_000):  # one piece; 12 frames or 1 clip in a piece
        monkeypatch.setattr(HiTRSEncoder, "chunk_elements", size)
        model.zero_grad()
        output = model(keypoints).pooler_output
        output.square().sum().backward()
        pooled.append(output.detach())
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(pooled[1], pooled[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# Persons


def test_absent_persons_are_averaged_in_for_parity_and_computed_once_per_length():
    model = tiny(HiTRSModel, ignore_absent_person=False)
    keypoints = torch.randn(3, 2, 30, 25, 3)
    mask = torch.zeros(3, 2, 30, dtype=torch.bool)
    mask[:, 0] = True
    mask[2, 0, 15:] = False
    with torch.no_grad():
        output = model(keypoints, mask, output_hidden_states=True)
        zeros = model(torch.zeros_like(keypoints), torch.stack([mask[:, 0], mask[:, 0]], dim=1))
    # The absent ones equal a person whose coordinates are all zero.
    torch.testing.assert_close(output.video_hidden_state[:, 1], zeros.video_hidden_state[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.pooler_output, output.video_hidden_state.mean(dim=1))
    assert output.person_mask.tolist() == [[True, False]] * 3
    assert len(output.hidden_states[-1]) == 3 + 2  # two lengths
    clips = number_of_clips(30, 7, 7, 2) * 2 + number_of_clips(15, 7, 7, 2)
    assert len(output.hidden_states[-2 - model.config.num_layers]) == clips + 1


def test_someone_seen_only_between_two_clips_does_not_count_unless_alone():
    model = tiny(HiTRSModel)  # frame 8 of 9 belongs to no clip
    mask = torch.zeros(2, 2, 9, dtype=torch.bool)
    mask[0, 0], mask[0, 1, 8] = True, True
    mask[1, 0, 8] = True
    with torch.no_grad():
        output = model(torch.randn(2, 2, 9, 25, 3), mask)
    assert output.person_mask.tolist() == [[True, False], [True, False]]
    assert torch.isfinite(output.pooler_output).all()
    torch.testing.assert_close(output.pooler_output[0], output.video_hidden_state[0, 0])
    with torch.no_grad():
        alone = model(torch.randn(1, 1, 9, 25, 3), mask[1:, :1])  # no clip in the whole batch
    torch.testing.assert_close(alone.pooler_output[0], output.pooler_output[1], atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Pre-training


@pytest.mark.parametrize("ignore_absent_person", [True, False])
def test_losses_equal_those_of_one_sample_after_the_other(ignore_absent_person):
    model = tiny(HiTRSForPreTraining, ignore_absent_person=ignore_absent_person)
    batch = pretraining_batch()
    with torch.no_grad():
        output = model(**batch)
        heads, encoder = model.pretraining, model.hitrs
        coordinates, clip_logits, video_logits, predictions, targets = [], [], [], [], []
        for row in range(4):
            frame_count = int(batch["frame_mask"][row, 0].sum())
            frames = torch.cat([torch.zeros(1, 25, 3), batch["keypoints"][row, 0, :frame_count]])
            features = encoder.frame(frames)
            selected = batch["masked_joints"][row, 0, :frame_count]
            predicted = heads.coordinate_head(features[1:])[selected]
            coordinates.append((predicted, batch["target_keypoints"][row, 0, :frame_count][selected]))
            pair = torch.stack([batch["order_clip"][row], batch["swapped_clip"][row]]) + 1
            clip_logits.append(heads.clip_order_head(encoder.clip(features, pair)))
            windows = torch.from_numpy(clip_frame_indices(frame_count, 7, 7, 2)) + 1
            clips = encoder.clip(features, windows)
            order = batch["clip_permutation"][row, : len(clips) - 1]
            tracks = torch.stack([clips[:-1], clips[:-1][order]])
            videos = encoder.video(tracks, torch.ones(tracks.shape[:2], dtype=torch.bool))[1]
            video_logits.append(heads.video_order_head(videos))
            predictions.append(heads.next_clip_head(videos[0]))
            targets.append(clips[-1])
    predicted, true = (torch.cat(values) for values in zip(*coordinates))
    difference = 10 * (predicted - true).abs()
    spatial = torch.where(difference < 1, difference**2 / 2, difference - 0.5).mean()
    expected = {"spatial": spatial, "spatial_error": (predicted - true).norm(dim=-1).mean()}
    for name, logits in (("clip_order", clip_logits), ("video_order", video_logits)):
        scores = torch.stack(logits).log_softmax(dim=-1)  # (samples, original and changed, classes)
        expected[name] = -(scores[:, 0, 1] + scores[:, 1, 0]).mean() / 2
        accuracy = torch.cat([scores[:, 0].argmax(-1) == 1, scores[:, 1].argmax(-1) == 0]).float().mean()
        torch.testing.assert_close(output[f"{name}_accuracy"], accuracy)
    normalised = [torch.nn.functional.normalize(torch.stack(v), dim=-1) for v in (predictions, targets)]
    scores = (normalised[0] @ normalised[1].T / 0.07).log_softmax(dim=-1)
    expected["next_clip"] = -scores.diagonal().mean()
    torch.testing.assert_close(output.spatial_error, expected.pop("spatial_error"), atol=1e-5, rtol=1e-5)
    for name, value in expected.items():
        torch.testing.assert_close(output[f"{name}_loss"], value, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(output.loss, sum(expected.values()), atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("switched_off", COMPONENTS)
def test_a_weight_of_zero_skips_a_task_and_leaves_the_others(switched_off):
    batch = pretraining_batch()
    everything = tiny(HiTRSForPreTraining)(**batch)
    output = tiny(HiTRSForPreTraining, **{f"{switched_off}_loss_weight": 0})(**batch)
    assert getattr(output, f"{switched_off}_loss") is None
    total = 0
    for name in COMPONENTS:
        if name != switched_off:
            total += output[f"{name}_loss"]
            torch.testing.assert_close(output[f"{name}_loss"], everything[f"{name}_loss"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.loss.detach(), total)


@pytest.mark.parametrize(
    "levels, unused",
    [
        ({"spatial"}, ("hitrs.clip.", "hitrs.video.")),
        ({"spatial", "clip_order"}, ("hitrs.video.",)),
        ({"video_order", "next_clip"}, ()),
    ],
)
def test_levels_can_be_left_out(levels, unused):
    model = tiny(HiTRSForPreTraining, **{f"{name}_loss_weight": 2.0 * (name in levels) for name in COMPONENTS})
    output = model(**pretraining_batch())
    output.loss.backward()
    torch.testing.assert_close(output.loss.detach(), 2 * sum(output[f"{name}_loss"] for name in levels))
    for name, parameter in model.hitrs.named_parameters():
        assert (parameter.grad is None) == f"hitrs.{name}".startswith(unused), name


def test_all_weights_zero_is_an_error():
    model = tiny(HiTRSForPreTraining, **{f"{name}_loss_weight": 0 for name in COMPONENTS})
    with pytest.raises(ValueError, match="all pre-training losses have weight 0"):
        model(**pretraining_batch())


def test_order_tasks_can_see_the_clean_input():
    batch = pretraining_batch()
    corrupted = tiny(HiTRSForPreTraining)(**batch)
    clean = tiny(HiTRSForPreTraining, order_tasks_on_clean_input=True)(**batch)
    reference = tiny(HiTRSForPreTraining)(**{**batch, "keypoints": batch["target_keypoints"]})
    torch.testing.assert_close(clean.spatial_loss, corrupted.spatial_loss)
    for name in COMPONENTS[1:]:
        torch.testing.assert_close(clean[f"{name}_loss"], reference[f"{name}_loss"], atol=1e-5, rtol=1e-5)
        assert abs(clean[f"{name}_loss"] - corrupted[f"{name}_loss"]) > 1e-4


def test_spatial_loss_of_the_paper():
    model = tiny(HiTRSForPreTraining, spatial_loss="l1", coordinate_scale=1)
    loss, error = model.spatial_task(torch.tensor([[1.0, 2, 3], [0, 0, 0]]), torch.tensor([[0.0, 0, 0], [3, 0, 4]]))
    assert loss.item() == pytest.approx((6 + 7) / 2)
    assert error.item() == pytest.approx((14**0.5 + 5) / 2)


def test_the_next_clip_gives_no_gradient_to_its_target():
    weights = {f"{name}_loss_weight": float(name == "next_clip") for name in COMPONENTS}
    model = tiny(HiTRSForPreTraining, **weights)
    batch = pretraining_batch((35, 60))
    batch["keypoints"].requires_grad_()
    model(**batch).loss.backward()
    gradient = batch["keypoints"].grad[:, 0].abs().sum(dim=(2, 3))
    for row, length in enumerate((35, 60)):
        windows = clip_frame_indices(length, 7, 7, 2)
        last = windows[-1][windows[-1] >= 0]
        seen = np.unique(windows[:-1][windows[:-1] >= 0])
        assert not np.isin(last, seen).any()
        assert not gradient[row, last].any() and (gradient[row, seen] > 0).all()


def test_clips_without_motion_do_not_count():
    batch = pretraining_batch()
    model = tiny(HiTRSForPreTraining)
    batch["order_clip_mask"] = torch.tensor([True, False, True, False])
    half = model(**batch)
    chosen = {name: tensor[[0, 2]] for name, tensor in batch.items()}
    chosen["clip_permutation"] = chosen["clip_permutation"][:, :5]
    expected = model(**chosen)
    torch.testing.assert_close(half.clip_order_loss, expected.clip_order_loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(half.clip_order_accuracy, expected.clip_order_accuracy)

    batch["order_clip_mask"][:] = False
    model = tiny(HiTRSForPreTraining, **{f"{name}_loss_weight": float(name == "clip_order") for name in COMPONENTS})
    output = model(**batch)
    assert output.loss.item() == 0 and output.clip_order_accuracy.item() == 0
    output.loss.backward()
    for name, parameter in model.named_parameters():
        if name.startswith(("hitrs.frame", "hitrs.clip", "pretraining.clip_order_head")):
            assert parameter.grad is not None and not parameter.grad.any(), name


def test_a_batch_without_masked_joints_has_no_spatial_loss():
    batch = pretraining_batch()
    batch["masked_joints"][:] = False
    output = tiny(HiTRSForPreTraining)(**batch)
    assert output.spatial_loss.item() == 0 and output.spatial_error.item() == 0 and torch.isfinite(output.loss)


def test_gaps_in_pretraining_sequences():
    batch = pretraining_batch((60, 60))
    batch["frame_mask"][0, 0, 20:41] = False
    batch["keypoints"][0, 0, 20:41] = float("nan")
    model = tiny(HiTRSForPreTraining)
    output = model(**batch)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_only_the_loss_has_a_gradient():
    output = tiny(HiTRSForPreTraining)(**pretraining_batch())
    assert [name for name, value in output.items() if value.requires_grad] == ["loss"]
    assert next(iter(output)) == "loss"


def test_wrong_batches_are_named():
    model, batch = tiny(HiTRSForPreTraining), pretraining_batch()
    with pytest.raises(ValueError, match="one person per sequence, got 2"):
        model(**{**batch, "keypoints": batch["keypoints"].expand(-1, 2, -1, -1, -1)})
    with pytest.raises(ValueError, match=r"clip_permutation has shape \(4, 8\).*\(4, 9\)"):
        model(**{**batch, "clip_permutation": batch["clip_permutation"][:, :8]})
    short = {**batch, "frame_mask": batch["frame_mask"].clone()}
    short["frame_mask"][2, 0, 14:] = False
    with pytest.raises(ValueError, match="sample 2 of the batch has 2 clips, but the tasks need at least 3"):
        model(**short)


STICK = {"name": "stick", "joints": ["pelvis", "chest", "head", "left_hand", "right_hand"], "parents": [0, 0, 1, 1, 1]}


def test_eight_sequences_are_learned():
    batch = pretraining_batch([int(n) for n in np.linspace(22, 40, 8)], joints=5)
    model = tiny(HiTRSForPreTraining, hidden_dropout_prob=0.0, layout=STICK)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    first = None
    # How many steps it takes depends on the last bits of the arithmetic, thus on the machine: mostly 150.
    for _ in range(500):
        output = model(**batch)
        first = output if first is None else first
        halved = all(output[f"{name}_loss"] < 0.5 * first[f"{name}_loss"] for name in COMPONENTS)
        told = (output.clip_order_accuracy, output.video_order_accuracy, output.next_clip_accuracy)
        if halved and min(told) == 1:
            break
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert halved and min(told) == 1, (told, {name: float(output[f"{name}_loss"]) for name in COMPONENTS})


def test_eight_sequences_are_recognised():
    batch = pretraining_batch([int(n) for n in np.linspace(22, 40, 8)])
    model = tiny(HiTRSForActionRecognition, num_labels=8, hidden_dropout_prob=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    labels = torch.arange(8)
    for _ in range(25):
        output = model(batch["target_keypoints"], batch["frame_mask"], labels=labels)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert (output.logits.argmax(dim=-1) == labels).all()
