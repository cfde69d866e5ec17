"""Live recognition and detection: frames in one by one, predictions and running detections out.

```python
from skeleton_transformers import StreamingRecognizer

recognizer = StreamingRecognizer.from_pretrained("runs/hitrs_demo_recognition", window=90)
for pose in camera:                                   # (persons, joints, channels), or None: nobody is seen
    update = recognizer.push(pose)
    print(update.predictions)                         # [{"label": "wave", "score": 0.93}, ...]
```
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor

from ..data.task_datasets import check_keeps_frames
from ..evaluation.detection import SEGMENT_RADIUS, SegmentRule
from ..models.auto import AutoModelForActionDetection, AutoModelForActionRecognition
from ..models.hitrs.caching_hitrs import remember_features
from ..models.hitrs.modeling_hitrs import HiTRSModel


DEFAULT_WINDOW = 300

Frame = tuple[np.ndarray, np.ndarray]  # keypoints (persons, joints, channels), present (persons,)


@dataclass(frozen=True)
class StreamingUpdate:
    """What is known after a frame. Times are in seconds from the first frame, or those of the timestamps.

    Attributes:
        frames: frames so far.
        predictions: of a recogniser, list of `label` and `score`, best first, for the window that ends here; empty if nobody is seen
            in it, None where nothing was computed (`every`).
        probabilities: of a detector, `(frames, classes)`: the frames whose probabilities are final since the last update.
        finished: of a detector, the actions that are known to have ended since the last update: dictionaries like those of the pipeline
            `skeleton-action-detection`.
        running: of a detector, the action that goes on, if any; its label and score may still change.
    """

    frames: int
    predictions: list[dict[str, Any]] | None = None
    probabilities: np.ndarray | None = None
    finished: list[dict[str, Any]] = field(default_factory=list)
    running: dict[str, Any] | None = None


class StreamingRecognizer:
    """Sees frames one by one, with a recognition or a detection model of the package; memory does not grow with time.

    A recogniser says after every frame what is done in the last `window` frames: exactly what `model(**feature_extractor(frames))`
    says about them. The window begins at a multiple of `hop` frames, so it is up to `hop - 1` frames shorter than `window` once it is
    full. A detector gives every frame its probabilities as soon as the frames are there that they depend on, exactly those of
    the whole take, and joins them into actions by the rules of `frames_to_segments`.

    What is new is computed, where the model allows it. Hi-TRS encodes a frame once by F-TRS and a clip once by C-TRS, as long as the
    feature extractor leaves their coordinates as they were; clips at the ends of the window, half of whose frames are missing, and the
    video transformer are computed each time. A feature extractor with `center="first_frame"` or `normalize_view` puts all frames
    elsewhere when the window moves; there it moves by a quarter of its length at a time, by default. With `num_frames` or `scale`, and
    with other families, the window is computed anew each time. Detectors of other families get every block of half a `frame_window` once.

    Args:
        model: recogniser or detector. It is put into evaluation mode.
        feature_extractor: the one saved with the model.
        frame_rate: frames per second that come in, where frames have no timestamps. It is needed if the feature extractor
            changes the rate.
        window: of a recogniser, frames to look at, counted at the rate of the feature extractor. Default: what the feature extractor
            cuts or stretches sequences to, or else 300.
        hop: of a recogniser, frames that the window moves by; see above.
        every: compute after every so many frames.
        top_k: predictions to give.
        rule, radius, threshold, min_frames: of a detector, see `frames_to_segments`.
        max_gap: seconds between two timestamps from which on nobody was there in between; shorter gaps are filled by interpolation.

    Raises:
        ValueError: the model is of another kind or does not fit the feature extractor, or the feature extractor needs the whole take.
    """

    def __init__(
        self,
        model: Any,
        feature_extractor: Any,
        *,
        frame_rate: float | None = None,
        window: int | None = None,
        hop: int | None = None,
        every: int = 1,
        top_k: int = 5,
        rule: SegmentRule = "threshold",
        radius: int | None = None,
        threshold: float = 0.4,
        min_frames: int = 1,
        max_gap: float = 0.5,
    ):
        if hasattr(feature_extractor, "members"):
            raise ValueError(
                "an ensemble has no single stream of frames; give one of its members and its feature extractor"
            )
        feature_extractor.check_model(model.config)
        for name, value in (("window", window), ("hop", hop), ("every", every), ("top_k", top_k)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.is_detector = hasattr(model, "iterate_logits")
        if not self.is_detector and not hasattr(model, "classifier"):
            raise ValueError(f"{type(model).__name__} is neither a recogniser nor a detector")
        model.eval()
        self.model = model
        if isinstance(model.base_model, HiTRSModel):
            self.model = remember_features(model)
        # Frames are brought to its rate as they come.
        self.extractor = copy.copy(feature_extractor)
        self.extractor.frame_rate = None
        self.frame_rate, self.target_rate = frame_rate, feature_extractor.frame_rate
        self.every, self.top_k, self.max_gap = every, top_k, max_gap
        if self.is_detector:
            self._check_causal()
            self._rule = (rule, SEGMENT_RADIUS[rule] if radius is None else radius, threshold, min_frames)
        else:
            self._set_window(window, hop)
        self.reset()

    @classmethod
    def from_pretrained(
        cls, name: str, device: str | torch.device | None = None, **options: Any
    ) -> StreamingRecognizer:
        """A saved recogniser or detector, with its feature extractor.

        Args:
            name: folder or Hub id.
            device: where to compute; by default a GPU if there is one.
            **options: see the class.
        """
        architecture = (AutoConfig.from_pretrained(name).architectures or [""])[0]
        kinds: dict[str, Any] = {
            "Recognition": AutoModelForActionRecognition,
            "Detection": AutoModelForActionDetection,
        }
        kind = next((kind for kind in kinds if architecture.endswith(f"ForAction{kind}")), None)
        if kind is None:
            raise ValueError(
                f"{name} was saved as {architecture or '?'}, which is neither a recogniser nor a detector"
            )
        model = kinds[kind].from_pretrained(name)
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(model, AutoFeatureExtractor.from_pretrained(name), **options)

    def reset(self) -> None:
        """Forgets all frames: what comes next is another take."""
        extractor = self.extractor
        self.frames = 0  # that came in
        self._is_finished = False
        self._clock = _Clock(self.frame_rate, self.target_rate, self.max_gap)
        self._buffer: deque[Frame] = deque()
        self._first = 0  # number of the frame that is first in the buffer, at the rate of the extractor
        self._slots = 1  # most persons that were ever seen
        # Of a detector:
        self._done = 0  # frames with final probabilities
        self._anchors = _Anchors(extractor.center, extractor.normalize_view)
        if self.is_detector:
            self._segments = _RunningSegments(*self._rule)

    def push(self, frame: Any = None, present: Any = None, timestamp: float | None = None) -> StreamingUpdate:
        """Takes the next frame.

        Args:
            frame: `(persons, joints, channels)`, or `(joints, channels)` for one person, of numpy or torch, in the unit of the model;
                None if nobody is seen. A person keeps the place in the first axis; the number of places may change.
            present: bool `(persons,)`, who is there; by default everybody with a coordinate other than 0.
            timestamp: seconds, on any clock that goes forward. Either all frames have one or none.

        Raises:
            ValueError: the frame has another form, or coordinates that are not finite, or its time is not after the last one.
        """
        if self._is_finished:
            raise ValueError("the take has been finished; call reset() before the next one")
        arrived = self._check(frame, present)
        self._slots = max(self._slots, len(arrived[1]))
        for one in self._clock.tick(arrived, timestamp):
            self._buffer.append(one)
        self.frames += 1
        if self.frames % self.every:
            if not self.is_detector:
                self._slide()
            return StreamingUpdate(self.frames, running=self._running())
        return self._detect(is_last=False) if self.is_detector else self._recognize()

    def finish(self) -> StreamingUpdate:
        """Says that there will be no more frames: the last ones of a detector become final. Then `reset` begins another take."""
        self._is_finished = True
        for one in self._clock.rest():
            self._buffer.append(one)
        return self._detect(is_last=True) if self.is_detector else self._recognize()

    # -- recognition -------------------------------------------------------------------------------------------------
    def _set_window(self, window: int | None, hop: int | None) -> None:
        extractor = self.extractor
        self.window = window or extractor.num_frames or extractor.max_frames or DEFAULT_WINDOW
        if extractor.max_frames is not None and self.window > extractor.max_frames:
            raise ValueError(
                f"window={self.window}, but the feature extractor keeps the first {extractor.max_frames} frames (max_frames) only"
            )
        if hop is None:
            hop = 1
            if (
                isinstance(self.model.base_model, HiTRSModel)
                and extractor.scale == "none"
                and extractor.num_frames is None
            ):
                stride = self.model.config.clip_stride
                moves_all = extractor.center == "first_frame" or extractor.normalize_view
                hop = min(self.window, stride * math.ceil(self.window / 4 / stride) if moves_all else stride)
        if hop > self.window:
            raise ValueError(f"hop={hop} is more than window={self.window}: frames would be dropped unseen")
        self.hop = hop

    def _slide(self) -> None:
        surplus = len(self._buffer) - self.window
        for _ in range(self.hop * math.ceil(surplus / self.hop) if surplus > 0 else 0):
            self._buffer.popleft()
            self._first += 1

    @torch.inference_mode()
    def _recognize(self) -> StreamingUpdate:
        self._slide()
        keypoints, present = self._stack(list(self._buffer))
        if not present.any():
            return StreamingUpdate(self.frames, predictions=[])
        inputs = self.extractor(keypoints, present, return_tensors="pt").to(self.model.device)
        scores = self.model(**inputs).logits[0].float().softmax(-1).cpu()
        best = scores.topk(min(self.top_k, len(scores)))
        labels = self.model.config.id2label
        predictions = [
            {"label": labels[index], "score": score}
            for index, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        return StreamingUpdate(self.frames, predictions=predictions)

    # -- detection ---------------------------------------------------------------------------------------------------
    def _check_causal(self) -> None:
        extractor = self.extractor
        check_keeps_frames(extractor, 0.0)
        allowed: dict[str, tuple[Any, ...]] = {"scale": ("none",), "person_selection": ("first", "all")}
        for name, values in allowed.items():
            if getattr(extractor, name) not in values:
                raise ValueError(
                    f"the feature extractor has {name}={getattr(extractor, name)!r}, which needs the whole take; live detection needs "
                    f"{' or '.join(map(repr, values))}"
                )

    @torch.inference_mode()
    def _detect(self, is_last: bool) -> StreamingUpdate:
        encoder = self.model.base_model
        block = getattr(encoder, "frame_alignment", 1)
        context = block * math.ceil(encoder.frame_context / block)
        seen = self._first + len(self._buffer)
        # In the stream m_t = x_(t+1) - x_t the last frame is not known before the next one.
        ready = seen - (self.extractor.stream == "motion" and self.extractor.motion_zero == "last")
        end = seen if is_last else self._done + max(0, ready - context - self._done) // block * block
        probabilities = np.zeros((0, self.model.config.num_labels), dtype=np.float32)
        if end > self._done:
            start = max(0, self._done - context)
            stop = min(end + context, seen if is_last else ready)
            keypoints, present = self._normalized(start, stop)
            wanted = torch.zeros(1, stop - start, dtype=torch.bool)
            wanted[:, self._done - start : end - start] = True
            tensors = torch.from_numpy(keypoints)[None], torch.from_numpy(present)[None], wanted
            features = encoder.get_frame_features(*(tensor.to(self.model.device) for tensor in tensors))
            logits = self.model.classifier(features[0, self._done - start : end - start])
            probabilities = logits.float().softmax(-1).cpu().numpy()
            self._done = end
            self._forget(max(0, end - context) - 1)
        finished = [self._describe(*one) for one in self._segments.add(probabilities, is_last)]
        return StreamingUpdate(self.frames, None, probabilities, finished, self._running())

    def _normalized(self, start: int, stop: int) -> Frame:
        """Stream of the frames from `start` to `stop`, as in the whole take: keypoints `(persons, frames, ...)`, present."""
        part = list(self._buffer)[: stop + 1 - self._first]  # a frame more on either side, for motion
        for frame in part:
            self._anchors.see(*frame)
        anchors = self._anchors.frames()
        keypoints, present = self._stack([*anchors, *part])
        if present.any():
            keypoints, present = self.extractor.normalize(*self._anchors.first_in_front(keypoints, present))
        keypoints, present = keypoints[:, len(anchors) :], present[:, len(anchors) :]
        if present.any():
            keypoints = self.extractor.apply_stream(keypoints, present)
        wanted = slice(start - self._first, stop - self._first)
        return keypoints[:, wanted].copy(), present[:, wanted].copy()

    def _forget(self, first: int) -> None:
        """Drops the frames before `first`, apart from those that tell where the others lie."""
        while self._first < first:
            self._anchors.drop(*self._buffer.popleft())
            self._first += 1

    def _running(self) -> dict[str, Any] | None:
        running = self._segments.running() if self.is_detector else None
        return None if running is None else self._describe(*running)

    def _describe(self, label: int, start: int, end: int, confidence: float) -> dict[str, Any]:
        step, rate = self._clock.input_frames, self._clock.rate
        action = {"label": self.model.config.id2label[label], "score": confidence}
        action |= {"start": round(start * step), "end": round(end * step)}
        if rate:
            begin = self._clock.start
            action |= {"start_seconds": begin + start / rate, "end_seconds": begin + end / rate}
        return action

    # -- frames ------------------------------------------------------------------------------------------------------
    def _check(self, frame: Any, present: Any) -> Frame:
        extractor = self.extractor
        joints, channels = extractor.skeleton_layout.num_joints, extractor.num_channels
        where = f"frame {self.frames}"
        if frame is None:
            return np.zeros((0, joints, channels), dtype=np.float32), np.zeros(0, dtype=bool)
        if isinstance(frame, torch.Tensor):
            frame = frame.detach().cpu()
        values = np.array(frame, dtype=np.float32)
        values = values[None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[1:] != (joints, channels):
            raise ValueError(
                f"{where}: has shape {np.shape(frame)}; a frame is (persons, {joints}, {channels}), {joints} joints in layout "
                f"{extractor.skeleton_layout.name!r} with {channels} channels, or ({joints}, {channels}) for one person"
            )
        if present is None:
            there = (values[..., : extractor.num_coordinates] != 0).any(axis=(1, 2))
        else:
            there = np.asarray(present, dtype=bool)
            if there.shape != values.shape[:1]:
                raise ValueError(f"{where}: present has shape {there.shape}, but there are {len(values)} persons")
        if not np.isfinite(values[there]).all():
            person = int(np.flatnonzero(there)[~np.isfinite(values[there]).all(axis=(1, 2))][0])
            raise ValueError(
                f"{where}: coordinates of person {person} are not finite; repair them, or set present to False"
            )
        values[~there] = 0
        if extractor.person_selection == "first":
            return values[: extractor.max_persons], there[: extractor.max_persons]
        return values, there

    def _stack(self, frames: list[Frame]) -> Frame:
        """`(persons, frames, joints, channels)` and `(persons, frames)` of frames with any number of persons."""
        layout, channels = self.extractor.skeleton_layout, self.extractor.num_channels
        keypoints = np.zeros((self._slots, len(frames), layout.num_joints, channels), dtype=np.float32)
        present = np.zeros((self._slots, len(frames)), dtype=bool)
        for number, (values, there) in enumerate(frames):
            keypoints[: len(there), number], present[: len(there), number] = values, there
        return keypoints, present


class _Clock:
    """Brings frames to another rate as they come, as `resample_frames` does with a whole sequence.

    Attributes:
        rate: frames per second of what comes out, None if unknown.
        input_frames: frames that come in for one that comes out.
        start: time of the first frame.
    """

    def __init__(self, source_rate: float | None, target_rate: float | None, max_gap: float):
        self.source_rate, self.target_rate, self.max_gap = source_rate, target_rate, max_gap
        self.rate = target_rate or source_rate
        self.start = 0.0
        self.input_frames = 1.0
        self.last: tuple[float, Frame] | None = None
        self.has_timestamps = False
        self.arrived = self.given = 0

    def tick(self, frame: Frame, timestamp: float | None) -> Iterator[Frame]:
        """The frames that are known now that this one has come."""
        if self.arrived and (timestamp is not None) != self.has_timestamps:
            raise ValueError(f"frame {self.arrived}: either all frames have a timestamp or none")
        self.has_timestamps = timestamp is not None
        if timestamp is not None and self.last is not None and not timestamp > self.last[0]:
            raise ValueError(
                f"frame {self.arrived}: its timestamp {timestamp} is not after that of the frame before, {self.last[0]}"
            )
        if self.target_rate is None:
            if not self.arrived:
                self.start = timestamp or 0.0
                self.rate = None if timestamp is not None else self.source_rate
            self.last = (timestamp or 0.0, frame)
            self.arrived += 1
            return iter([frame])
        if timestamp is None and self.source_rate is None:
            raise ValueError(
                f"frame {self.arrived}: the feature extractor resamples to {self.target_rate:g} frames per second, but the rate of the "
                "frames is not known; pass frame_rate, or a timestamp with every frame"
            )
        return self._resampled(frame, timestamp)

    def _resampled(self, frame: Frame, timestamp: float | None) -> Iterator[Frame]:
        # Time in seconds, or in frames that come in; the grid of frames that go out in the same unit.
        if timestamp is None:
            assert self.source_rate is not None and self.target_rate is not None
            now, step, origin = float(self.arrived), self.source_rate / self.target_rate, 0.0
            self.input_frames = step
        else:
            assert self.target_rate is not None
            now, step = timestamp, 1 / self.target_rate
            if not self.arrived:
                self.start = now
            origin = self.start
        before, self.last = self.last, (now, frame)
        self.arrived += 1
        found = []
        while (place := origin + self.given * step) <= now:
            self.given += 1
            if before is None or place == now:
                found.append(frame)
            elif timestamp is not None and now - before[0] > self.max_gap:
                found.append((frame[0][:0], frame[1][:0]))
            else:
                found.append(_between(before[1], frame, (place - before[0]) / (now - before[0])))
        return iter(found)

    def rest(self) -> Iterator[Frame]:
        """Frames at the end that lie behind the last one that came: as many as rounding gives a whole sequence."""
        if self.last is None or self.target_rate is None or self.source_rate is None or self.has_timestamps:
            return
        wanted = max(1, int(np.round(self.arrived * self.target_rate / self.source_rate)))
        while self.given < wanted:
            self.given += 1
            yield self.last[1]


def _between(before: Frame, after: Frame, weight: float) -> Frame:
    """A frame at the share `weight` of the way; the rules are those of `sample_frames`."""
    persons = max(len(before[1]), len(after[1]))
    (start, was), (stop, will) = (
        (np.pad(values, ((0, persons - len(there)), (0, 0), (0, 0))), np.pad(there, (0, persons - len(there))))
        for values, there in (before, after)
    )
    present = was if weight < 0.5 else will
    blend = np.where(was & will, weight, weight >= 0.5).astype(np.float32)[:, None, None]
    values = start + blend * (stop - start)
    values[~present] = 0
    return values, present


class _Anchors:
    """Frames of the past that say where the present lies: the first one of the person whom a take is centred on, and the latest."""

    def __init__(self, center: str, normalize_view: bool):
        self.is_needed = center != "none" or normalize_view
        self.person: int | None = None
        self.first: Frame | None = None
        self.latest: Frame | None = None
        self.first_was_dropped = False

    def see(self, keypoints: np.ndarray, present: np.ndarray) -> None:
        """Notes whom the take is centred on."""
        if self.person is None and present.any():
            self.person = int(np.argmax(present))
            self.first = (keypoints, present)

    def drop(self, keypoints: np.ndarray, present: np.ndarray) -> None:
        """A frame leaves the buffer."""
        if self.person is None or self.person >= len(present) or not present[self.person]:
            return
        self.first_was_dropped = True
        self.latest = (keypoints, present)

    def frames(self) -> list[Frame]:
        """What has to stand in front of the buffer."""
        if not (self.is_needed and self.first_was_dropped):
            return []
        assert self.first is not None and self.latest is not None
        return [self.first, self.latest]

    def first_in_front(self, keypoints: np.ndarray, present: np.ndarray) -> Frame:
        """The persons, with the one whom the take is centred on before others who came later."""
        if not self.is_needed or not self.person or not present[: self.person].any():
            return keypoints, present
        order = [self.person, *(number for number in range(len(present)) if number != self.person)]
        return keypoints[order], present[order]


class _RunningSegments:
    """`frames_to_segments`, frame by frame, with a memory of `2 * radius + 1` frames."""

    def __init__(self, rule: SegmentRule | Literal["threshold"], radius: int, threshold: float, min_frames: int):
        self.rule, self.radius, self.threshold, self.min_frames = rule, radius, threshold, min_frames
        self.recent: deque[np.ndarray] = deque(maxlen=2 * radius + 1)
        self.arrived = self.smoothed = 0
        self.kind = 0  # what the run is of: 0 for the background, else 1 or, with argmax_runs, the action
        self.start = 0
        self.total: np.ndarray | float = 0.0  # sum of the probabilities of the run

    def add(self, probabilities: np.ndarray, is_last: bool) -> list[tuple[int, int, int, float]]:
        """The actions that have ended: label, first frame, frame after the last, confidence."""
        ended = []
        for row in probabilities.astype(np.float64):
            self.recent.append(row)
            self.arrived += 1
            if self.arrived > self.radius:
                ended += self._next(np.mean(self._around(), axis=0))
        if is_last:
            while self.smoothed < self.arrived:
                ended += self._next(np.mean(self._around(), axis=0))
            ended += self._close(0)
        return ended

    def running(self) -> tuple[int, int, int, float] | None:
        """The action that goes on."""
        return self._current() if self._is_action() else None

    def _around(self) -> list[np.ndarray]:
        """Probabilities of the next frame to smooth and of its neighbours, as far as there are any."""
        first = self.arrived - len(self.recent)
        low, high = self.smoothed - self.radius, self.smoothed + self.radius + 1
        return [row for number, row in enumerate(self.recent, start=first) if low <= number < high]

    def _next(self, smoothed: np.ndarray) -> list[tuple[int, int, int, float]]:
        if self.rule == "argmax_runs":
            kind = int(smoothed.argmax())
        else:
            kind = int(1 - smoothed[0] >= self.threshold)
        ended = self._close(kind) if kind != self.kind else []
        self.total = self.total + smoothed
        self.smoothed += 1
        return ended

    def _close(self, kind: int) -> list[tuple[int, int, int, float]]:
        ended = [self._current()] if self._is_action() else []
        self.kind, self.start, self.total = kind, self.smoothed, 0.0
        return ended

    def _is_action(self) -> bool:
        return bool(self.kind) and self.smoothed - self.start >= self.min_frames

    def _current(self) -> tuple[int, int, int, float]:
        means = np.asarray(self.total) / (self.smoothed - self.start)
        label = self.kind if self.rule == "argmax_runs" else int(means[1:].argmax()) + 1
        return label, self.start, self.smoothed, float(means[label])


__all__ = ["StreamingRecognizer", "StreamingUpdate"]
