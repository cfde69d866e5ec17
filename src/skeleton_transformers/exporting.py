"""Deployment: a trained model as a graph of ONNX or `torch.export`, for batches, persons and frames of any number.

```python
from skeleton_transformers.exporting import ExportedModel, export_model

export_model("runs/hitrs_recognition", "exported")
recognise = ExportedModel("exported")
recognise.predict(["take.skeleton"])  # [[{"label": "jump up", "score": 0.98}, ...]]
```

The folder has the graph, `config.json`, `preprocessor_config.json`, and `export.json`, which says how to feed the graph and how far its
output is from that of the model.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import platform
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, PreTrainedModel

from .modeling_loading import CheckpointError
from .models.auto import AutoModelForActionRecognition


FORMATS = {"onnx": "model.onnx", "torch-export": "model.pt2"}
# What each task loads, and the field of the output that the graph gives.
_TASKS: dict[str, tuple[Any, str]] = {
    "recognition": (AutoModelForActionRecognition, "logits"),
    "features": (AutoModel, "pooler_output"),
}
_AXES = ("batch", "persons", "frames")
_MANIFEST = "export.json"
# A graph is refused if it is further from the model than that, in units of the largest output or of 1.
TOLERANCE = 1e-4


def export_model(
    model: str | os.PathLike,
    folder: str | os.PathLike,
    format: str = "onnx",
    task: str = "recognition",
    quantize: str | None = None,
    opset: int | None = None,
) -> dict[str, Any]:
    """Writes a model as a graph, runs that graph on batches of several sizes and compares it with the model.

    Args:
        model: folder or Hub id of a saved model with its feature extractor.
        folder: where to write.
        format: `"onnx"` (`model.onnx`, for onnxruntime and others) or `"torch-export"` (`model.pt2`, for `torch.export.load`).
        task: `"recognition"` (logits) or `"features"` (the `pooler_output` of the encoder).
        quantize: `"int8"` stores the weights of matrix products in 8 bits and rounds what they are multiplied with when it comes
            (dynamic quantisation of onnxruntime); convolutions stay as they are.
        opset: version of the ONNX operators; that of the installed torch by default.

    Returns:
        What is in `export.json`: files, inputs, output, the sizes of the axes, versions, and `largest_difference`, the largest absolute
        one between an output of the graph and of the model.

    Raises:
        ImportError: the extra `export` is not installed.
        ValueError: an argument that is not known, a model that cannot be exported, or a graph that gives something else than the model.
        CheckpointError: the model was not trained for the task.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be {' or '.join(FORMATS)}, got {format!r}")
    if task not in _TASKS:
        raise ValueError(f"task must be {' or '.join(_TASKS)}, got {task!r}")
    if quantize not in (None, "int8"):
        raise ValueError(f"quantize must be int8 or nothing, got {quantize!r}")
    if format != "onnx" and (quantize or opset):
        raise ValueError(f"quantize and opset are options of the format onnx, not of {format}")
    if format == "onnx":
        _require("onnx", "onnxscript", "onnxruntime")
    extractor = AutoFeatureExtractor.from_pretrained(model)
    network, output_name = _load(model, task)
    program = _trace(network, output_name)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FORMATS[format]
    if format == "onnx":
        _write_onnx(program, file, output_name, quantize, opset)
    else:
        torch.export.save(program, file)
    network.config.save_pretrained(folder)
    extractor.save_pretrained(folder)
    manifest: dict[str, Any] = {
        "format": format,
        "file": file.name,
        "task": task,
        "model_class": type(network).__name__,
        "inputs": {
            "keypoints": {
                "dtype": "float32",
                "shape": [*_AXES, network.config.num_joints, network.config.num_channels],
            },
            "frame_mask": {"dtype": "bool", "shape": list(_AXES)},
        },
        "output": {"name": output_name, "dtype": "float32"},
        "axes": _axis_ranges(program, network.config),
        "quantize": quantize,
        "bytes": file.stat().st_size,
        "versions": _versions(format),
    }
    _write(folder, manifest)
    manifest |= _compare(network, output_name, ExportedModel(folder))
    _write(folder, manifest)
    if quantize is None and manifest["largest_difference"] > TOLERANCE * max(1.0, manifest["largest_output"]):
        raise ValueError(
            f"{file} differs from the model by {manifest['largest_difference']:.2g} where the largest output is "
            f"{manifest['largest_output']:.2g}; do not use it, and report the versions in {folder / _MANIFEST}"
        )
    return manifest


class ExportedModel:
    """A graph that [`export_model`] wrote, with its feature extractor.

    Args:
        folder: what `export_model` was given.
        **session: passed to `onnxruntime.InferenceSession`: `providers`, such as `["CUDAExecutionProvider"]` (by default the CPU),
            `sess_options` (threads).

    Raises:
        ImportError: the graph needs the extra `export`, which is not installed.
        FileNotFoundError: the folder holds no exported model.
    """

    def __init__(self, folder: str | os.PathLike, **session: Any):
        folder = Path(folder)
        if not (folder / _MANIFEST).is_file():
            raise FileNotFoundError(
                f"{folder} has no {_MANIFEST}: it is no exported model; `skeleton-transformers export` makes one"
            )
        self.manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        self.config = AutoConfig.from_pretrained(folder)
        self.feature_extractor = AutoFeatureExtractor.from_pretrained(folder)
        file = folder / self.manifest["file"]
        if self.manifest["format"] == "onnx":
            self._session = _require("onnxruntime").InferenceSession(
                file, **{"providers": ["CPUExecutionProvider"], **session}
            )
        else:
            self._session = None
            self._module = torch.export.load(file).module()

    def __call__(self, keypoints: np.ndarray, frame_mask: np.ndarray) -> np.ndarray:
        """What the graph gives.

        Args:
            keypoints: float32 `(batch, persons, frames, joints, channels)`, from the feature extractor.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there; somebody has to be in every sample.

        Returns:
            float32 `(batch, num_labels)` or `(batch, hidden_size)`.

        Raises:
            ValueError: nobody is present in a sample, or the graph takes no batch of that size.
        """
        keypoints, frame_mask = np.asarray(keypoints, np.float32), np.asarray(frame_mask, bool)
        empty = np.flatnonzero(~frame_mask.any(axis=(1, 2)))
        if empty.size:
            raise ValueError(f"nobody is present in any frame of sample {empty[0]} of the batch; leave it out")
        missing = []
        for axis, size in zip(_AXES, frame_mask.shape, strict=True):
            least, most = self.manifest["axes"][axis]
            if most is not None and size > most:
                raise ValueError(
                    f"the batch has {size} {axis}, but the model takes at most {most}; see max_persons and max_frames"
                )
            missing.append((0, max(0, least - size)))
        rows = len(keypoints)
        # Absent persons and frames change nothing, and neither does one more sample of the same.
        (_, samples), *rest = missing
        keypoints = np.pad(keypoints, [(0, 0), *rest, (0, 0), (0, 0)])
        frame_mask = np.pad(frame_mask, [(0, 0), *rest])
        if samples:
            keypoints, frame_mask = (np.concatenate([a, a[-1:].repeat(samples, 0)]) for a in (keypoints, frame_mask))
        if self._session is not None:
            return self._session.run(None, {"keypoints": keypoints, "frame_mask": frame_mask})[0][:rows]
        try:
            with torch.no_grad():
                output = self._module(keypoints=torch.from_numpy(keypoints), frame_mask=torch.from_numpy(frame_mask))
        except AssertionError as error:  # what torch.export asserts about sizes
            raise ValueError(f"the graph takes no batch of shape {keypoints.shape}: {error}") from error
        return output[:rows].numpy()

    def predict(self, recordings: Any, top_k: int = 5, **options: Any) -> list[Any]:
        """Names the action in each recording, or gives its features.

        Args:
            recordings: a list of paths, recordings or arrays, see [`SkeletonFeatureExtractor`].
            top_k: actions to give.
            **options: passed to the feature extractor (`frame_mask`, `source_frame_rate`).

        Returns:
            for each recording a list of `label` and `score` (probability), best first; or, of `task="features"`, an array.
        """
        results = []
        inputs = self.feature_extractor(recordings, return_tensors="np", **options)
        for output in self(inputs["keypoints"], inputs["frame_mask"]).astype(np.float64):
            if self.manifest["task"] == "features":
                results.append(output)
                continue
            scores = np.exp(output - output.max())
            scores /= scores.sum()
            best = np.argsort(-scores, kind="stable")[:top_k].tolist()
            results.append([{"label": self.config.id2label[i], "score": float(scores[i])} for i in best])
        return results


def _require(*names: str) -> Any:
    """Imports modules of the extra `export`; gives the last one.

    Raises:
        ImportError: one of them is not installed.
    """
    try:
        return [importlib.import_module(name) for name in names][-1]
    except ImportError as error:
        raise ImportError(
            f"the format onnx needs {error.name}: pip install 'skeleton_transformers[export]'"
        ) from error


class _Graph(nn.Module):
    """A model as a function of two tensors that gives one."""

    def __init__(self, model: PreTrainedModel, output_name: str):
        super().__init__()
        self.model = model
        self.output_name = output_name

    def forward(self, keypoints: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        return self.model(keypoints=keypoints, frame_mask=frame_mask)[self.output_name]


def _load(name: str | os.PathLike, task: str) -> tuple[PreTrainedModel, str]:
    auto_class, output_name = _TASKS[task]
    model, report = auto_class.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
    if report["missing_keys"]:
        raise CheckpointError(
            f"{name} lacks {', '.join(sorted(report['missing_keys'])[:3])}: it was saved as "
            f"{', '.join(model.config.architectures or ('?',))} and is not trained for {task}; fine-tune it first, or export its features"
        )
    if not hasattr(model.config, "num_joints"):
        raise ValueError(
            f"{name} is a {type(model).__name__}, which takes several batches; export its members one by one"
        )
    return model.eval(), output_name


def _trace(model: PreTrainedModel, output_name: str) -> Any:
    """The model as a `torch.export` program with three dynamic axes."""
    # An axis of size 1 would be taken for fixed. Whether there are more persons than places cannot be asked of a graph.
    persons = min(2, getattr(model.config, "num_persons", 2))
    dynamic = torch.export.Dim.DYNAMIC
    axes = {0: dynamic, 2: dynamic} | ({1: dynamic} if persons > 1 else {})
    inputs = _random_batch(model.config, 3, persons, min(48, getattr(model.config, "max_frames", None) or 48))
    graph = _Graph(model, output_name)
    try:
        with torch.no_grad():
            program = torch.export.export(graph, (), inputs, dynamic_shapes=dict.fromkeys(inputs, axes), strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"{type(model).__name__} cannot be traced by torch {torch.__version__}: its steps depend on the values of its inputs, or "
            f"on their sizes ({str(error).strip().splitlines()[0]})"
        ) from error
    # Where the code lies on this machine is nobody's business.
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)
    return program


def _random_batch(config: Any, batch: int, persons: int, frames: int) -> dict[str, torch.Tensor]:
    """Sequences of several lengths, with gaps, and with a second person in some of them only."""
    generator = torch.Generator().manual_seed(batch * persons * frames)
    frame_mask = torch.rand(batch, persons, frames, generator=generator) < 0.8
    frame_mask[::2, 1:] = False
    frame_mask[-1, :, (frames + 1) // 2 :] = False
    frame_mask[:, 0, 0] = True
    keypoints = torch.randn(*frame_mask.shape, config.num_joints, config.num_channels, generator=generator)
    return {"keypoints": keypoints * frame_mask[..., None, None], "frame_mask": frame_mask}


def _axis_ranges(program: Any, config: Any) -> dict[str, list[int | None]]:
    """Least and greatest size of each axis, None for no limit."""
    (mask,) = (node for node in program.graph.nodes if node.op == "placeholder" and node.name == "frame_mask")
    ranges: dict[str, list[int | None]] = {}
    for axis, size in zip(_AXES, mask.meta["val"].shape, strict=True):
        if isinstance(size, int):
            ranges[axis] = [size, size]
            continue
        limits = program.range_constraints[size.node.expr]
        least, most = int(limits.lower), float(limits.upper)
        # 2 only says that a size of 1 was not traced, not that there is anything against it.
        ranges[axis] = [1 if least <= 2 else least, int(most) if most < 2**31 else None]
    if getattr(config, "num_persons", None) is not None:
        ranges["persons"][1] = config.num_persons
    if getattr(config, "max_frames", None) is not None:
        ranges["frames"][1] = config.max_frames
    return ranges


def _write_onnx(program: Any, file: Path, output_name: str, quantize: str | None, opset: int | None) -> None:
    import onnx

    with warnings.catch_warnings(), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")
        onnx_program = torch.onnx.export(
            program,
            (),
            input_names=["keypoints", "frame_mask"],
            output_names=[output_name],
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert onnx_program is not None
    graph = _tidy(onnx_program.model_proto)
    if quantize is None:
        onnx.save(graph, file)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as temporary, _quiet("root"):
        onnx.save(graph, Path(temporary) / "float32.onnx")
        quantize_dynamic(
            Path(temporary) / "float32.onnx",
            file,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )


def _tidy(model: Any) -> Any:
    """Names the axes; takes out where on this machine each step comes from, and shapes that every reader works out itself."""
    graph = model.graph
    for value in graph.input:
        for name, dimension in zip(_AXES, value.type.tensor_type.shape.dim):
            if dimension.dim_param:
                dimension.dim_param = name
    for value in graph.output:
        value.type.tensor_type.shape.dim[0].dim_param = _AXES[0]
    del graph.value_info[:]
    for function in model.functions:
        del function.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    return model


def _compare(model: PreTrainedModel, output_name: str, exported: ExportedModel) -> dict[str, Any]:
    """Largest difference from the model, over batches of other sizes than the one that was traced."""
    least, most = exported.manifest["axes"]["persons"]
    persons = 2 if most is None else min(2, most)
    difference = size = 0.0
    sizes = [(1, 1, 1), (1, persons, 30), (2, 1, 64), (4, persons, 75)]
    longest = exported.manifest["axes"]["frames"][1]
    for batch, people, frames in sizes:
        inputs = _random_batch(model.config, batch, max(people, least), min(frames, longest or frames))
        with torch.no_grad():
            expected = model(**inputs)[output_name].numpy()
        actual = exported(inputs["keypoints"].numpy(), inputs["frame_mask"].numpy())
        difference = max(difference, float(np.abs(actual - expected).max()))
        size = max(size, float(np.abs(expected).max()))
    return {"largest_difference": difference, "largest_output": size}


def _versions(format: str) -> dict[str, str]:
    names = ["skeleton_transformers", "torch", "transformers"]
    names += ["onnx", "onnxscript", "onnxruntime"] if format == "onnx" else []
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


class _quiet:
    """Keeps a logger from telling of everything that it did not need."""

    def __init__(self, name: str):
        self.logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        self.logger.setLevel(self.level)


__all__ = ["FORMATS", "TOLERANCE", "ExportedModel", "export_model"]
