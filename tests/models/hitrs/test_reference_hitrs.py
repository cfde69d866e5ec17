"""The packed model against a second implementation: one sample, one person, one frame, one clip after the other."""

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, layer_norm, softmax

from skeleton_transformers import HiTRSConfig, HiTRSModel


class Reference:
    """Hi-TRS with loops and zero padding, from the formulas; it shares nothing with the model but its weights."""

    def __init__(self, model: HiTRSModel):
        self.config = model.config
        self.w = {name: tensor.detach() for name, tensor in model.state_dict().items()}

    def linear(self, name, x):
        bias = self.w.get(f"{name}.bias")
        return x @ self.w[f"{name}.weight"].T + (0 if bias is None else bias)

    def norm(self, name, x):
        return layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-5)

    def stack(self, level, x, forbidden):
        """All layers of one level on one sequence of tokens (n, d); returns the input and the output of every layer."""
        states = [x]
        heads, size = self.config.num_attention_heads, self.config.attention_head_size
        for number in range(self.config.num_layers):
            name = f"{level}.layers.{number}"
            h = self.norm(f"{name}.layernorm_before", x)
            q, k, v = (self.linear(f"{name}.attention.{part}", h) for part in ("query", "key", "value"))
            mixed = []
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                logits = (q[:, part] / size**0.5) @ k[:, part].T
                mixed.append(softmax(logits.masked_fill(forbidden, -1e9), dim=-1) @ v[:, part])
            x = x + self.linear(f"{name}.attention.output", torch.cat(mixed, dim=-1))
            h = self.linear(f"{name}.intermediate", self.norm(f"{name}.layernorm_after", x))
            x = x + self.linear(f"{name}.output", gelu(h))
            states.append(x)
        return states

    def frame(self, joints):
        name = "frame.embeddings"
        x = gelu(self.linear(f"{name}.projection", joints))
        if self.config.embedding_layer_norm:
            x = self.norm(f"{name}.layer_norm", x)
        n = len(joints)
        return self.stack("frame", x + self.w[f"{name}.position_embeddings"], torch.zeros(n, n, dtype=torch.bool))

    def clip(self, frames):
        """frames: list of w tensors (V, d)."""
        tokens = []
        for t, frame in enumerate(frames):
            for j, joint in enumerate(frame):
                x = self.linear("clip.embeddings.projection", joint)
                tokens.append(x + self.w["clip.embeddings.position_embeddings"][t, j])
        tokens.append(self.w["clip.embeddings.cls_token"][0, 0])
        joints, n = len(frames[0]), len(tokens)
        forbidden = torch.zeros(n, n, dtype=torch.bool)
        for i in range(n - 1):
            for j in range(n - 1):
                if i // joints == j // joints and (i != j or self.config.mask_self):
                    forbidden[i, j] = True
        return self.stack("clip", torch.stack(tokens), forbidden)

    def video(self, clips, masked):
        tokens = [
            self.linear("video.embeddings.projection", clip) + self.w["video.embeddings.position_embeddings"][k]
            for k, clip in enumerate(clips)
        ]
        tokens.append(self.w["video.embeddings.cls_token"][0, 0])
        columns = torch.tensor([*masked, False])
        return self.stack("video", torch.stack(tokens), columns.expand(len(tokens), -1))

    def windows(self, num_frames):
        """Padded frame numbers of every window, by the stopping rule."""
        w, stride, dilation = self.config.clip_length, self.config.clip_stride, self.config.clip_dilation
        padding = w // 2 * dilation
        length = num_frames + 2 * padding
        windows, start = [], 0
        while True:
            windows.append([min(start + i * dilation, length - 1) for i in range(w)])
            if windows[-1][-1] >= length - padding - 1 and start + stride + (w - 1) * dilation > length - 1:
                return windows
            start += stride

    def sample(self, keypoints, mask):
        """One sample: keypoints (M, T, V, C), mask (M, T)."""
        persons, frames = mask.shape
        num_frames = max(t + 1 for t in range(frames) if mask[:, t].any())
        padding = self.config.clip_length // 2 * self.config.clip_dilation
        zero = torch.zeros(keypoints.shape[2:])
        windows = self.windows(num_frames)
        result = {"frame": [], "clip": [], "video": [], "vx": [], "seen": []}
        for m in range(persons):
            padded = [zero] * padding
            padded += [keypoints[m, t] if mask[m, t] else zero for t in range(num_frames)]
            padded += [zero] * padding
            there = [False] * padding + mask[m, :num_frames].tolist() + [False] * padding
            encoded = [self.frame(frame) for frame in padded]
            clips = [self.clip([encoded[t][-1] for t in window]) for window in windows]
            seen = [any(there[t] for t in window) for window in windows]
            counted = seen if self.config.ignore_absent_person else [True] * len(windows)
            video = self.video([clip[-1][-1] for clip in clips], [not c for c in counted])
            result["frame"].append([e for e, t in zip(encoded, there) if t])
            result["clip"].append(clips)
            result["video"].append(video)
            result["vx"].append(video[-1][-1])
            result["seen"].append(seen)
        present = [m for m in range(persons) if mask[m].any()]
        counted = present if self.config.ignore_absent_person else range(persons)
        result["pooled"] = torch.stack([result["vx"][m] for m in counted]).mean(dim=0)
        result["present"] = present
        return result


def batch(joints):
    """Ragged lengths, two persons, gaps, a person who comes late, and one who is never there."""
    rng = np.random.default_rng(3)
    keypoints = torch.from_numpy(rng.standard_normal((4, 2, 30, joints, 3), dtype=np.float32))
    mask = torch.zeros(4, 2, 30, dtype=torch.bool)
    mask[0, 0, :30] = True
    mask[0, 1, 11:17] = True
    mask[1, 0, :12] = True
    mask[2, 0, :5] = True
    mask[2, 1, 3:20] = True
    mask[2, 1, 6:15] = False
    mask[3, 1, :19] = True
    return keypoints, mask


@pytest.fixture(scope="module")
def layout():
    return {"name": "three joints", "joints": ["pelvis", "chest", "head"], "parents": [0, 0, 1]}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ignore_absent_person": False},
        {"mask_self": True, "embedding_layer_norm": False},
        {"clip_length": 3, "clip_stride": 2, "clip_dilation": 1},
        {"clip_length": 5, "clip_stride": 9, "clip_dilation": 1, "ignore_absent_person": False},
        {"clip_length": 1, "clip_stride": 4, "clip_dilation": 1},
    ],
    ids=str,
)
def test_packed_model_equals_the_reference_layer_by_layer(options, layout):
    torch.manual_seed(0)
    model = HiTRSModel(HiTRSConfig.from_preset("tiny", layout=layout, **options)).eval()
    reference = Reference(model)
    keypoints, mask = batch(3)
    layers = model.config.num_layers + 1
    with torch.no_grad():
        output = model(keypoints, mask, output_hidden_states=True)
        brief = model(keypoints, mask)
        samples = [reference.sample(x, m) for x, m in zip(keypoints, mask)]
    frames, clips, tracks = (output.hidden_states[i * layers : (i + 1) * layers] for i in range(3))
    exact = {"atol": 2e-5, "rtol": 1e-5}
    ignore = model.config.ignore_absent_person

    # Row 0 is the zero frame; then come the frames in which somebody is present, in the order of the batch.
    expected = [frame for s in samples for person in s["frame"] for frame in person]
    for number in range(layers):
        torch.testing.assert_close(frames[number][1:], torch.stack([f[number] for f in expected]), **exact)

    # Clips in which somebody is seen, behind the clip of zero frames if absent persons count.
    expected = [c for s in samples for p, seen in zip(s["clip"], s["seen"]) for c, one in zip(p, seen) if one]
    for number in range(layers):
        packed = clips[number] if ignore else clips[number][1:]
        torch.testing.assert_close(packed, torch.stack([c[number] for c in expected]), **exact)

    # Tracks of the persons who are present. Padding may follow the clips; the class token is last.
    expected = [(s["video"][m], s["seen"][m]) for s in samples for m in s["present"]]
    for number in range(layers):
        for row, (track, seen) in enumerate(expected):
            # A masked clip has a token, too, but nobody attends to it: it may hold anything.
            counted = [k for k, one in enumerate(seen) if one or not ignore]
            torch.testing.assert_close(tracks[number][row, counted], track[number][counted], **exact)
            torch.testing.assert_close(tracks[number][row, -1], track[number][-1], **exact)

    for b, s in enumerate(samples):
        torch.testing.assert_close(brief.pooler_output[b], s["pooled"], **exact)
        assert brief.person_mask[b].tolist() == [m in s["present"] for m in range(2)]
        for m in range(2):
            counted = s["seen"][m] if ignore else [True] * len(s["seen"][m])
            steps = len(counted)
            assert brief.step_mask[b, m].tolist() == counted + [False] * (brief.step_mask.shape[2] - steps)
            if ignore and m not in s["present"]:
                assert not brief.video_hidden_state[b, m].any()
                continue
            torch.testing.assert_close(brief.video_hidden_state[b, m], s["vx"][m], **exact)
            for k in range(steps):
                if counted[k]:
                    torch.testing.assert_close(brief.clip_hidden_state[b, m, k], s["clip"][m][k][-1][-1], **exact)
                    torch.testing.assert_close(brief.last_hidden_state[b, m, k], s["video"][m][-1][k], **exact)
            assert not brief.clip_hidden_state[b, m][~brief.step_mask[b, m]].any()
            assert not brief.last_hidden_state[b, m][~brief.step_mask[b, m]].any()
    rows = 0
    for b, s in enumerate(samples):
        for m in range(2):
            there = mask[b, m]
            torch.testing.assert_close(
                output.frame_hidden_state[b, m][there], frames[-1][1 + rows : 1 + rows + int(there.sum())]
            )
            assert not output.frame_hidden_state[b, m][~there].any()
            rows += int(there.sum())
    torch.testing.assert_close(output.pooler_output, brief.pooler_output, atol=1e-6, rtol=1e-5)
