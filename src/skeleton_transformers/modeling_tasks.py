"""Task heads, written once for all encoders.

Put a head in front of the base class of a family and name the encoder:

```python
class HiTRSForActionRecognition(ActionRecognitionHead, HiTRSPreTrainedModel):
    encoder_class = HiTRSModel
```

The encoder is kept under `base_model_prefix`, takes `keypoints` and `frame_mask`, and returns a `pooler_output` of width
`config.hidden_size`. For detection it gives a feature of every frame, too:

* `get_frame_features(keypoints, frame_mask, wanted)` returns `(batch, frames, config.frame_feature_size)`; a chunk of a take
  may hold nobody, which is no error there;
* `frame_context` is how many frames before and after a frame its feature depends on: a take of any length is processed in chunks
  that overlap by so many frames;
* `frame_alignment` (if other than 1): a chunk has to begin at a multiple of it, for example where time is downsampled.

[`WindowedFrameFeatures`] gives all three to an encoder that looks at a sequence as a whole.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple

from .modeling_outputs import ActionDetectionOutput, ActionRecognitionOutput, MotionPredictionOutput


# Label that cross-entropy leaves out.
IGNORED_LABEL = -100


class ActionRecognitionHead:
    """Linear classifier on the `pooler_output` of an encoder (Hi-TRS: Chen et al., ECCV 2022, Sec. 4.2).

    A family with another classifier overrides `make_classifier` and `classify`.
    """

    encoder_class: ClassVar[type[PreTrainedModel]]
    base_model_prefix: str
    # The loss is a plain mean; without this the Trainer takes it for a sum that it has to normalise itself.
    accepts_loss_kwargs = False

    def __init__(self, config: Any):
        super().__init__(config)  # type: ignore[call-arg]  # the next class is the family's PreTrainedModel
        self.num_labels = config.num_labels
        setattr(self, self.base_model_prefix, self.encoder_class(config))
        self.classifier = self.make_classifier(config)
        self.post_init()  # type: ignore[attr-defined]

    def make_classifier(self, config: Any) -> nn.Module:
        """The classifier, with random weights."""
        return nn.Linear(config.hidden_size, config.num_labels)

    def classify(self, outputs: Any) -> torch.Tensor:
        """Scores `(batch, num_labels)` from what the encoder returns."""
        return self.classifier(outputs.pooler_output)

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> ActionRecognitionOutput:
        """Scores the classes of each sample.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there.
            labels: int64 `(batch,)`, in `[0, num_labels)`; -100 leaves a sample out of the loss.
            **kwargs: passed to the encoder (`output_hidden_states`, `output_attentions`).

        Raises:
            ValueError: a label is not one of the model's classes.
        """
        encoder = getattr(self, self.base_model_prefix)
        outputs = encoder(keypoints, frame_mask, return_dict=True, **kwargs)
        logits = self.classify(outputs)
        loss = None
        if labels is not None:
            check_labels(labels, self.config)  # type: ignore[attr-defined]
            loss = nn.functional.cross_entropy(logits.float(), labels.to(logits.device), ignore_index=IGNORED_LABEL)
        return ActionRecognitionOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class ActionDetectionHead:
    """Linear classifier on the feature of every frame, with the background as class 0 (Hi-TRS, Sec. 4.2).

    `config.num_labels` counts the background: `id2label` is `{0: "background", 1: ...}`.

    In evaluation a take is processed in chunks, so that memory does not grow with its length, apart from its keypoints
    and scores; the result is that of the whole. [`iterate_logits`] gives the chunks one by one.
    """

    encoder_class: ClassVar[type[PreTrainedModel]]
    base_model_prefix: str
    accepts_loss_kwargs = False
    # Frames whose scores are computed at once in evaluation.
    chunk_frames = 512

    def __init__(self, config: Any):
        super().__init__(config)  # type: ignore[call-arg]
        self.num_labels = config.num_labels
        setattr(self, self.base_model_prefix, self.encoder_class(config))
        self.classifier = nn.Linear(config.frame_feature_size, config.num_labels)
        self.post_init()  # type: ignore[attr-defined]

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> ActionDetectionOutput:
        """Scores the classes in every frame.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there.
            labels: int64 `(batch, frames)`, 0 for the background; -100 leaves a frame out of the loss. In training, such
                frames are not even computed and their logits mean nothing.

        Raises:
            ValueError: a label is not one of the model's classes, or the labels are not one for each frame.
        """
        if labels is not None:
            check_labels(labels, self.config)  # type: ignore[attr-defined]
            if labels.shape != (keypoints.shape[0], keypoints.shape[2]):
                raise ValueError(
                    f"labels must have shape (batch, frames) = {(keypoints.shape[0], keypoints.shape[2])}, one for each "
                    f"frame; got {tuple(labels.shape)}."
                )
            labels = labels.to(keypoints.device)
        if self.training or torch.compiler.is_compiling():  # type: ignore[attr-defined]
            encoder = getattr(self, self.base_model_prefix)
            wanted = None if labels is None else labels != IGNORED_LABEL
            logits = self.classifier(encoder.get_frame_features(keypoints, frame_mask, wanted))
        else:
            logits = torch.cat(list(self.iterate_logits(keypoints, frame_mask)), dim=1)
        loss = None
        if labels is not None:
            flat = nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
            )
            loss = flat / (labels != IGNORED_LABEL).sum().clamp(min=1)
        return ActionDetectionOutput(loss=loss, logits=logits)

    def iterate_logits(
        self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None = None, chunk_frames: int | None = None
    ) -> Iterator[torch.Tensor]:
        """Scores of chunk after chunk, `(batch, up to chunk_frames, num_labels)` each; together they are those of `forward`.

        The keypoints may lie on another device than the model: a chunk is moved when its turn comes.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`.
            chunk_frames: frames of a chunk, by default those of the class; results do not depend on it.
        """
        encoder = getattr(self, self.base_model_prefix)
        alignment = getattr(encoder, "frame_alignment", 1)
        size = round_up(self.chunk_frames if chunk_frames is None else chunk_frames, alignment)
        context = round_up(encoder.frame_context, alignment)
        device = self.classifier.weight.device
        for start in range(0, keypoints.shape[2], size):
            first = max(0, start - context)
            part = slice(first, start + size + context)
            mask = None if frame_mask is None else frame_mask[:, :, part].to(device)
            features = encoder.get_frame_features(keypoints[:, :, part].to(device), mask)
            yield self.classifier(features[:, start - first : start - first + size])


class WindowedFrameFeatures:
    """Frame features of an encoder that looks at a sequence as a whole; put it in front of the base class of the encoder.

    The take is cut into blocks of half a window. The encoder sees each block in the middle of a window, with a quarter of
    a window before and after it, and a frame gets the step of the encoder that lies at its place, mean over the persons
    who have that step. Steps are spread evenly over the window, as they are where time is kept or downsampled, or, with
    `resizes_sequences`, over the frames up to the last one in which anybody is present. Beyond the take a window has frames
    in which nobody is present, and windows without anybody give 0.

    The width `config.frame_feature_size` is that of `last_hidden_state`; the length of the windows, in frames, is
    `config.frame_window`, a multiple of 4 and best the length of the sequences that the encoder was trained on.
    """

    config: Any
    # Whether the encoder stretches what it is given, up to the last frame with anybody in it, to a length of its own.
    resizes_sequences: ClassVar[bool] = False

    @property
    def frame_alignment(self) -> int:
        """Frames in a block."""
        return self.config.frame_window // 2

    @property
    def frame_context(self) -> int:
        """Frames before and after a frame that its feature depends on, at most."""
        return 3 * self.config.frame_window // 4

    def get_frame_features(
        self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None = None, wanted: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Feature of every frame, see the class.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`; None means wherever any coordinate is not 0.
            wanted: bool `(batch, frames)`, frames whose feature is needed; windows without one are not computed.

        Returns:
            `(batch, frames, config.frame_feature_size)`.
        """
        if frame_mask is None:
            frame_mask = (keypoints != 0).flatten(3).any(dim=-1)
        window, block, frames = self.config.frame_window, self.frame_alignment, keypoints.shape[2]
        if window % 4:
            raise ValueError(f"frame_window must be a multiple of 4, got {window}.")
        blocks = -(-frames // block)
        before, after = block // 2, blocks * block - frames + block // 2
        keypoints = nn.functional.pad(keypoints, (0, 0, 0, 0, before, after))
        frame_mask = nn.functional.pad(frame_mask, (before, after))
        # (batch, persons, blocks, ..., window) -> (batch * blocks, persons, window, ...)
        windows = keypoints.unfold(2, window, block).movedim(-1, 3).transpose(1, 2).flatten(0, 1)
        masks = frame_mask.unfold(2, window, block).transpose(1, 2).flatten(0, 1)
        needed = masks.flatten(1).any(dim=1)
        if wanted is not None:
            needed = needed & nn.functional.pad(wanted, (0, blocks * block - frames)).view(-1, block).any(dim=1)
        features = windows.new_zeros(len(windows), block, self.config.frame_feature_size)
        if needed.any():
            output = self(windows[needed], masks[needed], return_dict=True)  # type: ignore[operator]
            steps = output.last_hidden_state.shape[2]
            length: Any = window
            if self.resizes_sequences:
                ends = torch.arange(1, window + 1, device=windows.device)
                length = (masks[needed].any(dim=1) * ends).amax(dim=1, keepdim=True)  # (windows, 1)
            # The step at the middle of every frame of the block: (1 or windows, block)
            place = torch.arange(before, before + block, device=windows.device)[None]
            place = ((2 * place + 1) * steps // (2 * length)).clamp(max=steps - 1).expand(len(output.step_mask), -1)
            count = output.step_mask.sum(dim=1).clamp(min=1)[..., None]  # (windows, steps, 1)
            pooled = (output.last_hidden_state * output.step_mask[..., None]).sum(dim=1) / count
            pooled = pooled.gather(1, place[..., None].expand(-1, -1, pooled.shape[-1]))
            features = features.to(pooled.dtype).masked_scatter(needed[:, None, None], pooled)
        return features.view(-1, blocks * block, features.shape[-1])[:, :frames]


class MotionDecoder(nn.Module):
    """Goes on from a pose, frame by frame (Martinez et al., "On human motion prediction using recurrent neural networks", 2017).

    A GRU cell sees a pose and says how the next one differs from it (residual). The poses that it sees are its own, in
    training as in use (sampling-based), apart from the first one. With the residual `"velocity"`, a departure from the paper,
    it sees the last change of the pose as well, and says how the next change differs from a share of that: a motion dies down.
    How large that share is (`persistence`) is learnt for every coordinate, from 0.7 on.
    """

    start_persistence = 0.7

    def __init__(self, feature_size: int, pose_size: int, hidden_size: int, residual: str = "pose"):
        super().__init__()
        sees_velocity = residual == "velocity"
        self.initial_state = nn.Linear(feature_size, hidden_size)
        self.cell = nn.GRUCell(pose_size * (2 if sees_velocity else 1), hidden_size)
        self.output = nn.Linear(hidden_size, pose_size)
        self.persistence: nn.Parameter | None = None
        if sees_velocity:
            self.persistence = nn.Parameter(torch.full((pose_size,), self.start_persistence))

    def forward(
        self, features: torch.Tensor, pose: torch.Tensor, velocity: torch.Tensor, num_frames: int
    ) -> torch.Tensor:
        """Predicts the next frames.

        Args:
            features: `(rows, feature_size)`, what was observed.
            pose: float32 `(rows, pose_size)`, the last observed pose.
            velocity: float32 `(rows, pose_size)`, how it differs from the pose one frame before.
            num_frames: frames to predict.

        Returns:
            float32 `(rows, num_frames, pose_size)`.
        """
        state = torch.tanh(self.initial_state(features))
        poses = []
        for _ in range(num_frames):
            seen = pose if self.persistence is None else torch.cat([pose, velocity], dim=1)
            state = self.cell(seen.to(state.dtype), state)
            # Poses stay in full precision: half precision rounds a place three metres away to centimetres.
            change = self.output(state).float()
            velocity = change if self.persistence is None else self.persistence.float() * velocity + change
            pose = pose + velocity
            poses.append(pose)
        return torch.stack(poses, dim=1)


class MotionPredictionHead:
    """GRU decoder on the `pooler_output` of an encoder (Hi-TRS, Sec. 4.2 and 4.6).

    Every person is observed and predicted alone. `config.prediction_frames` is the number of frames to predict,
    `config.decoder_hidden_size` the width of the GRU, `config.decoder_residual` what it says the change of.
    """

    encoder_class: ClassVar[type[PreTrainedModel]]
    base_model_prefix: str
    accepts_loss_kwargs = False

    def __init__(self, config: Any):
        super().__init__(config)  # type: ignore[call-arg]
        setattr(self, self.base_model_prefix, self.encoder_class(config))
        pose_size = config.num_joints * config.num_channels
        sizes = (config.hidden_size, pose_size, config.decoder_hidden_size)
        self.decoder = MotionDecoder(*sizes, residual=config.decoder_residual)
        self.post_init()  # type: ignore[attr-defined]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Of the decoder, the output starts at U(-0.04, 0.04), as in the code of Martinez et al., the cell as torch has it.

        With the residual `"velocity"` the output starts at 0: what it says of every frame adds up twice.
        """
        super()._init_weights(module)  # type: ignore[misc]
        if module is self.decoder:
            if self.decoder.persistence is not None:
                init.constant_(self.decoder.persistence, self.decoder.start_persistence)
        elif module is self.decoder.output:
            bound = 0.04 if self.decoder.persistence is None else 0.0
            init.uniform_(module.weight, -bound, bound)
            init.zeros_(module.bias)
        elif module is self.decoder.cell:
            bound = module.hidden_size**-0.5
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        future_keypoints: torch.Tensor | None = None,
        future_mask: torch.Tensor | None = None,
        num_frames: int | None = None,
        **kwargs: Any,
    ) -> MotionPredictionOutput:
        """Predicts the frames that follow the last one in which each person was observed.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`, positions of the joints.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there.
            future_keypoints: float `(batch, persons, future frames, joints, channels)`, the frames that follow.
            future_mask: bool `(batch, persons, future frames)`, True where that person is there; by default in all frames
                of everybody who was observed. Other frames are left out of the loss.
            num_frames: frames to predict, by default those of `future_keypoints`, or else `config.prediction_frames`.
            **kwargs: passed to the encoder (`output_hidden_states`, `output_attentions`).

        Raises:
            ValueError: shapes do not fit, or nobody is present in a sample.
        """
        if frame_mask is None:
            frame_mask = (keypoints != 0).flatten(3).any(dim=-1)
        if num_frames is None:
            num_frames = self.config.prediction_frames if future_keypoints is None else future_keypoints.shape[2]  # type: ignore[attr-defined]
        expected = (*keypoints.shape[:2], num_frames, *keypoints.shape[3:])
        if future_keypoints is not None and future_keypoints.shape != expected:
            raise ValueError(
                f"future_keypoints must have shape (batch, persons, future frames, joints, channels) = {expected}; got "
                f"{tuple(future_keypoints.shape)}."
            )
        observed = frame_mask.any(dim=2)  # (batch, persons)
        if not torch.compiler.is_compiling() and not bool(observed.any(dim=1).all()):
            row = int(observed.any(dim=1).long().argmin())
            raise ValueError(
                f"nobody is present in any frame of sample {row} of the batch: its frame_mask is False throughout. Leave "
                "such recordings out."
            )
        # Everybody observed becomes a sample of one person: (rows, 1, frames, ...)
        past, past_mask = keypoints[observed][:, None], frame_mask[observed][:, None]
        encoder = getattr(self, self.base_model_prefix)
        outputs = encoder(past, past_mask, return_dict=True, **kwargs)
        ends = torch.arange(1, past.shape[2] + 1, device=past.device)
        last = (past_mask[:, 0] * ends).argmax(dim=1)
        rows = torch.arange(len(past), device=past.device)
        pose = past[rows, 0, last].float().flatten(1)
        before = (last - 1).clamp(min=0)
        was_there = past_mask[rows, 0, before][:, None]  # else the velocity is not known: 0
        velocity = (pose - past[rows, 0, before].float().flatten(1)).masked_fill(~was_there, 0)
        decoded = self.decoder(outputs.pooler_output, pose, velocity, num_frames).unflatten(-1, keypoints.shape[3:])
        predicted = decoded.new_zeros(expected).masked_scatter(observed[..., None, None, None], decoded)
        loss = None
        if future_keypoints is not None:
            counts = observed[..., None].expand(expected[:3])
            if future_mask is not None:
                counts = counts & future_mask.to(counts.device)
            difference = predicted[counts] - future_keypoints.to(predicted.device)[counts].float()
            loss = torch.linalg.vector_norm(difference, dim=-1).sum() / max(difference[..., 0].numel(), 1)
        return MotionPredictionOutput(
            loss=loss,
            predicted_keypoints=predicted,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def round_up(number: int, multiple: int) -> int:
    """The smallest multiple that is at least as large as a number."""
    return -(-number // multiple) * multiple


def check_labels(labels: torch.Tensor, config: Any) -> None:
    """Raises a ValueError that names the first label outside the label map of `config`."""
    if torch.compiler.is_compiling():
        return
    outside = labels[((labels < 0) | (labels >= config.num_labels)) & (labels != IGNORED_LABEL)]
    if outside.numel():
        names = [config.id2label.get(index, str(index)) for index in (0, config.num_labels - 1)]
        raise ValueError(
            f"labels contain {outside[0].item()}, but the model has {config.num_labels} classes, 0 ({names[0]!r}) to "
            f"{config.num_labels - 1} ({names[1]!r}). Create the model with the id2label and label2id of your data."
        )


__all__ = [
    "IGNORED_LABEL",
    "ActionDetectionHead",
    "ActionRecognitionHead",
    "MotionDecoder",
    "MotionPredictionHead",
    "WindowedFrameFeatures",
    "check_labels",
]
