"""Motion prediction: distance of predicted and true joints, beside the baselines that need no network.

Poses that stay as they are (zero velocity) are hard to beat over short times (Martinez et al., "On human motion prediction using
recurrent neural networks", CVPR 2017), so an error without that of the baseline says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.corpora import split_indices
from ..data.storage import SkeletonStore
from ..data.task_datasets import PredictionCollator, PredictionDataset
from .protocols import default_protocol, describe_data


HORIZONS = (80, 160, 320, 400)  # milliseconds, of Martinez et al.


def mpjpe(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean per joint position error of every predicted frame, without any alignment.

    Args:
        predicted: `(samples, frames, joints, coordinates)` in metres.
        true: the same.

    Returns:
        float64 `(frames,)` in millimetres, mean over samples and joints.
    """
    predicted, true = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if predicted.shape != true.shape or predicted.ndim != 4:
        raise ValueError(
            f"predicted {predicted.shape} and true {true.shape} poses must both be (samples, frames, joints, coordinates)"
        )
    if not len(true):
        raise ValueError("the error of no sample is undefined")
    return 1000 * np.linalg.norm(predicted - true, axis=-1).mean(axis=(0, 2))


def at_horizons(errors: np.ndarray, frame_rate: float, horizons: Sequence[float] = HORIZONS) -> dict[str, float]:
    """Errors so many milliseconds after the last observed frame.

    Where that lies between two frames, the error is interpolated between theirs; the last observed frame has none.

    Args:
        errors: `(frames,)`, of the first predicted frame onwards.
        frame_rate: frames per second.
        horizons: milliseconds; those beyond the last predicted frame are left out.
    """
    times = np.arange(len(errors) + 1) * (1000 / frame_rate)
    values = np.concatenate([[0.0], errors])
    # 80 ms are 2 frames at 25 frames per second, also where floating point says 1.9999.
    return {f"{h:g}": float(np.interp(h, times, values)) for h in horizons if h <= times[-1] + 1e-6}


def zero_velocity(observed: np.ndarray, num_frames: int) -> np.ndarray:
    """Prediction that nothing moves any more: `(samples, frames, ...)` -> `(samples, num_frames, ...)`."""
    return np.repeat(observed[:, -1:], num_frames, axis=1)


def constant_velocity(observed: np.ndarray, num_frames: int) -> np.ndarray:
    """Prediction that all goes on as between the last two observed frames (stays where only one was observed)."""
    if observed.shape[1] < 2:
        return zero_velocity(observed, num_frames)
    steps = np.arange(1, num_frames + 1).reshape(1, -1, *[1] * (observed.ndim - 2))
    return observed[:, -1:] + steps * (observed[:, -1:] - observed[:, -2:-1])


BASELINES = {"zero_velocity": zero_velocity, "constant_velocity": constant_velocity}


def euler_angle_error(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angle error of exponential maps, as Martinez et al. measure it on Human3.6M.

    The root, its place and its rotation, is left out. All other rotations become Euler angles; those that hardly change in the
    true frames of a sample (standard deviation up to 1e-4) do not count. The error of a frame is the Euclidean norm of the
    differences of its angles.

    Args:
        predicted: `(samples, frames, 1 + nodes, 3)`, as [`read_expmap_text`] gives them: the place of the root, then the
            exponential map of every node, the root first.
        true: the same.

    Returns:
        float64 `(frames,)` in radians, mean over samples.
    """
    from scipy.spatial.transform import Rotation

    predicted, true = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if predicted.shape != true.shape or predicted.ndim != 4 or predicted.shape[-1] != 3:
        raise ValueError(
            f"predicted {predicted.shape} and true {true.shape} frames must both be (samples, frames, 1 + nodes, 3)"
        )
    if not len(true):
        raise ValueError("the error of no sample is undefined")

    def angles(values: np.ndarray) -> np.ndarray:
        # (samples, frames, nodes - 1, 3) -> (samples, frames, 3 (nodes - 1)); the files' rotations turn row vectors
        joints = values[:, :, 2:]
        turned = Rotation.from_rotvec(-joints.reshape(-1, 3)).as_euler("xyz")
        return turned.reshape(*joints.shape[:2], -1)

    target = angles(true)
    counts = target.std(axis=1, keepdims=True) > 1e-4
    return np.sqrt((((angles(predicted) - target) * counts) ** 2).sum(axis=-1)).mean(axis=0)


def prediction_part(store: SkeletonStore, protocol: str | None, part: str) -> np.ndarray:
    """Indices of the recordings of one part of a split; they need no labels."""
    if store.units != "metre":
        raise ValueError(
            f"errors in millimetres need coordinates in metres; {store.path} has the unit {store.units!r}"
        )
    return split_indices(store, default_protocol(store) if protocol is None else protocol, part)


def evaluate_prediction(
    model: Any,
    dataset: PredictionDataset,
    protocol: str | None = None,
    *,
    eval_part: str = "test",
    batch_size: int = 128,
    device: str | torch.device | None = None,
    num_workers: int = 0,
    progress: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Predict all windows of a dataset and compare with what happened, for the model and for the baselines.

    Args:
        model: a prediction model; None measures the baselines alone.
        dataset: windows, not random.
        protocol: split that the windows are from, for the results.
        eval_part: part that they are from, for the results.
        batch_size: windows per batch.
        device: where to compute; default where the model is.
        num_workers: processes that read ahead.
        progress: show a progress bar.
        seed: noted in the results.

    Returns:
        `mpjpe_mm`: for `model`, `zero_velocity` and `constant_velocity` the error at every horizon and `mean`, that over all
        predicted frames (the number of Hi-TRS); `mpjpe_mm_per_frame`; and what is needed to repeat the numbers.

    Raises:
        ValueError: the windows are random.
    """
    if dataset.random:
        raise ValueError("numbers of random windows cannot be repeated; make the dataset with random=False")
    loader = DataLoader(dataset, batch_size, collate_fn=PredictionCollator(), num_workers=num_workers)
    names = [*BASELINES] if model is None else ["model", *BASELINES]
    sums = {name: np.zeros(dataset.predicted_frames) for name in names}
    was_training = model is not None and model.training
    if model is not None:
        device = next(model.parameters()).device if device is None else torch.device(device)
        model.to(device).eval()
    try:
        for batch in tqdm(loader, desc="predict", disable=None if progress else True, leave=False):
            observed, true = (batch[name].numpy()[:, 0] for name in ("keypoints", "future_keypoints"))
            predictions = {name: predict(observed, dataset.predicted_frames) for name, predict in BASELINES.items()}
            if model is not None:
                with torch.no_grad():
                    output = model(
                        batch["keypoints"].to(device),
                        batch["frame_mask"].to(device),
                        num_frames=dataset.predicted_frames,
                    )
                predictions["model"] = output.predicted_keypoints[:, 0].float().cpu().numpy()
            for name in names:
                sums[name] += len(true) * mpjpe(predictions[name], true)
    finally:
        if model is not None:
            model.train(was_training)
    errors = {name: total / len(dataset) for name, total in sums.items()}
    rate = dataset.frame_rate
    return {
        "protocol": "motion prediction",
        "mpjpe_mm": {
            name: {**at_horizons(values, rate), "mean": float(values.mean())} for name, values in errors.items()
        },
        "mpjpe_mm_per_frame": {name: values.tolist() for name, values in errors.items()},
        "frame_rate": rate,
        "observed_frames": dataset.observed_frames,
        "predicted_frames": dataset.predicted_frames,
        "num_samples": len(dataset),
        "num_too_short": dataset.num_dropped,
        **describe_data(dataset.store, protocol, seed, eval_part=eval_part),
    }


__all__ = [
    "BASELINES",
    "HORIZONS",
    "at_horizons",
    "constant_velocity",
    "euler_angle_error",
    "evaluate_prediction",
    "mpjpe",
    "prediction_part",
    "zero_velocity",
]
