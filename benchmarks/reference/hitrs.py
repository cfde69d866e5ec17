"""Hi-TRS (Chen et al., ECCV 2022), plainly: Sec. 3.2 for the encoder, Sec. 3.3 for the pre-training tasks."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu, normalize, one_hot, pad, smooth_l1_loss


class Attention(nn.Module):
    def __init__(self, config, dim):
        super().__init__()
        self.heads, self.size = config.num_attention_heads, config.attention_head_size
        self.query = nn.Linear(dim, self.heads * self.size, bias=False)
        self.key = nn.Linear(dim, self.heads * self.size, bias=False)
        self.value = nn.Linear(dim, self.heads * self.size, bias=False)
        self.output = nn.Linear(self.heads * self.size, dim, bias=False)

    def forward(self, x, forbidden):
        q, k, v = (
            layer(x).view(*x.shape[:2], self.heads, self.size).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        logits = torch.matmul(q / self.size**0.5, k.transpose(2, 3))
        if forbidden is not None:
            logits = logits.masked_fill(forbidden, -1e9)
        mixed = torch.matmul(logits.softmax(dim=-1), v)
        return self.output(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, config, dim, inner):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.attention = Attention(config, dim)
        self.layernorm_after = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.intermediate, self.output = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x, forbidden):
        x = x + self.dropout(self.attention(self.layernorm_before(x), forbidden))
        return x + self.dropout(self.output(gelu(self.intermediate(self.layernorm_after(x)))))


class Embeddings(nn.Module):
    """Projection, positions and, on two of the levels, a class token."""

    def __init__(self, inputs, *positions, with_norm=False, with_token=True):
        super().__init__()
        dim = positions[-1]
        self.projection = nn.Linear(inputs, dim)
        if with_norm:
            self.layer_norm = nn.LayerNorm(dim)
        self.position_embeddings = nn.Parameter(torch.zeros(positions))
        if with_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))


class Level(nn.Module):
    def __init__(self, config, level, embeddings):
        super().__init__()
        self.embeddings = embeddings
        dim, inner = config.hidden_sizes[level], config.intermediate_sizes[level]
        self.layers = nn.ModuleList([Layer(config, dim, inner) for _ in range(config.num_layers)])

    def run(self, x, forbidden=None):
        for layer in self.layers:
            x = layer(x, forbidden)
        return x


class PlainHiTRS(nn.Module):
    def __init__(self, config):
        super().__init__()
        frame, clip, video = config.hidden_sizes
        joints, length = config.num_joints, config.clip_length
        self.config, self.border = config, length // 2 * config.clip_dilation
        self.frame = Level(config, 0, Embeddings(config.num_channels, joints, frame, with_norm=True, with_token=False))
        self.clip = Level(config, 1, Embeddings(frame, length, joints, clip))
        self.video = Level(config, 2, Embeddings(clip, config.max_clips, video))
        # Joints of one frame do not see each other; each sees itself.
        number = torch.arange(length * joints + 1)
        same_frame = number[:, None] // joints == number[None] // joints
        self.register_buffer("forbidden", same_frame & ~torch.eye(len(number), dtype=torch.bool), persistent=False)

    def encode_frames(self, frames):
        """(rows, joints, channels) -> (rows, joints, dim)"""
        embeddings = self.frame.embeddings
        x = embeddings.layer_norm(gelu(embeddings.projection(frames))) + embeddings.position_embeddings
        return self.frame.run(x)

    def encode_clips(self, frames):
        """(clips, clip_length, joints, dim) -> (clips, dim)"""
        embeddings = self.clip.embeddings
        x = (embeddings.projection(frames) + embeddings.position_embeddings).flatten(1, 2)
        x = torch.cat([x, embeddings.cls_token.expand(len(x), -1, -1)], dim=1)
        return self.clip.run(x, self.forbidden)[:, -1]

    def encode_videos(self, clips, clip_mask):
        """(rows, clips, dim), bool (rows, clips) -> (rows, dim)"""
        embeddings = self.video.embeddings
        x = embeddings.projection(clips) + embeddings.position_embeddings[: clips.shape[1]]
        x = torch.cat([x, embeddings.cls_token.expand(len(x), -1, -1)], dim=1)
        forbidden = pad(~clip_mask, (0, 1), value=False)[:, None, None]
        return self.video.run(x, forbidden)[:, -1]

    def count_clips(self, num_frames):
        stride = self.config.clip_stride
        return 1 + (num_frames - min(self.border + 1, stride)).clamp(min=0).add(stride - 1).div(stride).long()

    def windows(self, num_frames, stride):
        """Positions in the sequence with its two borders, (clips, clip_length)."""
        number = -(-max(0, num_frames - min(self.border + 1, stride)) // stride) + 1
        offsets = torch.arange(self.config.clip_length) * self.config.clip_dilation
        return (torch.arange(number)[:, None] * stride + offsets).clamp(max=num_frames + 2 * self.border - 1)

    def with_borders(self, keypoints):
        """(..., frames, joints, channels), zero frames in front and behind"""
        return pad(keypoints, (0, 0, 0, 0, self.border, self.border))

    def forward(self, keypoints, frame_mask):
        """(batch, persons, frames, joints, channels), 0 where absent -> (batch, dim)"""
        batch, persons, num_frames = frame_mask.shape
        windows = self.windows(num_frames, self.config.clip_stride)
        clips = self.with_borders(keypoints)[:, :, windows]  # (batch, persons, clips, clip_length, joints, channels)
        frames = self.encode_frames(clips.flatten(0, 3))
        clips = self.encode_clips(frames.view(-1, self.config.clip_length, *frames.shape[1:]))
        clips = clips.view(batch * persons, len(windows), -1)
        lengths = (frame_mask.any(1) * torch.arange(1, num_frames + 1)).amax(1)
        clip_mask = torch.arange(len(windows)) < self.count_clips(lengths)[:, None]
        videos = self.encode_videos(clips, clip_mask.repeat_interleave(persons, dim=0))
        return videos.view(batch, persons, -1).mean(1)

    def frame_features(self, keypoints):
        """The clip centred on every frame, all of them encoded for themselves: (batch, persons, frames, dim)"""
        batch, persons, num_frames = keypoints.shape[:3]
        windows = torch.arange(num_frames)[:, None] + torch.arange(self.config.clip_length) * self.config.clip_dilation
        features = []
        for start in range(0, num_frames, 128):  # otherwise a long take fits no memory
            clips = self.with_borders(keypoints)[:, :, windows[start : start + 128]]
            frames = self.encode_frames(clips.flatten(0, 3))
            clips = self.encode_clips(frames.view(-1, self.config.clip_length, *frames.shape[1:]))
            features.append(clips.view(batch, persons, -1, clips.shape[-1]))
        return torch.cat(features, dim=2)


class PlainHiTRSForPreTraining(nn.Module):
    def __init__(self, config):
        super().__init__()
        frame, clip, video = config.hidden_sizes
        self.hitrs = PlainHiTRS(config)
        self.pretraining = nn.ModuleDict(
            {
                "coordinate_head": nn.Linear(frame, config.num_channels),
                "clip_order_head": nn.Linear(clip, 2),
                "video_order_head": nn.Linear(video, 2),
                "next_clip_head": nn.Linear(video, clip),
            }
        )
        self.config = config

    def forward(
        self,
        keypoints,
        frame_mask,
        target_keypoints,
        masked_joints,
        order_clip,
        swapped_clip,
        order_clip_mask,
        clip_permutation,
    ):
        """A batch of [`HiTRSPreTrainingCollator`] -> the four losses."""
        model, heads, batch = self.hitrs, self.pretraining, len(keypoints)
        border = model.border
        padded = model.with_borders(keypoints[:, 0])
        frames = model.encode_frames(padded.flatten(0, 1)).unflatten(0, padded.shape[:2])

        selected = masked_joints[:, 0]
        prediction = heads["coordinate_head"](frames[:, border : border + selected.shape[1]][selected])
        scale = self.config.coordinate_scale
        spatial = smooth_l1_loss(scale * prediction, scale * target_keypoints[:, 0][selected])

        rows = torch.arange(batch)[:, None, None]
        pair = torch.stack([order_clip, swapped_clip], dim=1)
        # A frame outside the sequence is a zero frame: one of the border.
        pair = model.encode_clips(frames[rows, torch.where(pair < 0, 0, pair + border)].flatten(0, 1))
        counted = order_clip_mask.repeat_interleave(2)
        labels = torch.tensor([1, 0]).repeat(batch)
        clip_order = cross_entropy(heads["clip_order_head"](pair)[counted], labels[counted])

        windows = model.windows(keypoints.shape[2], self.config.clip_stride)
        clips = model.encode_clips(frames[:, windows].flatten(0, 1)).unflatten(0, (batch, len(windows)))
        num_frames = frame_mask[:, 0].long().cumsum(1).argmax(1) + 1
        last = model.count_clips(num_frames) - 1
        clip_mask = torch.arange(len(windows)) < last[:, None]
        order = clip_permutation[:, :, None].expand_as(clips)
        videos = model.encode_videos(clips, clip_mask)
        permuted = model.encode_videos(clips.gather(1, order), clip_mask)
        labels = torch.tensor([1, 0]).repeat_interleave(batch)
        video_order = cross_entropy(heads["video_order_head"](torch.cat([videos, permuted])), labels)

        wanted = one_hot(last, len(windows)).bool()
        target = normalize(clips[wanted].detach(), dim=-1)
        similarity = normalize(heads["next_clip_head"](videos), dim=-1) @ target.T
        next_clip = cross_entropy(similarity / self.config.temperature, torch.arange(batch))
        return spatial, clip_order, video_order, next_clip
