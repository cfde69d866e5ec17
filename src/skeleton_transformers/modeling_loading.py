"""Loading of weights that either gives the saved model or says what is wrong with the checkpoint."""

from __future__ import annotations

from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file


class CheckpointError(OSError):
    """A checkpoint that cannot be used; the message names the repository, what is wrong and the remedy."""


class CheckedLoading:
    """Put it in front of `PreTrainedModel` in the base class of a family.

    `transformers` loads what fits and reports the rest in a warning. Here it is an error if the checkpoint belongs to another
    family, is damaged, or lacks tensors of the very class that was saved. Only safetensors are read: a pickle can execute code.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """As `PreTrainedModel.from_pretrained`.

        Raises:
            CheckpointError: the repository or folder is no checkpoint of this family, or a damaged one.
            ValueError: a tensor has another shape than the configuration says, and `ignore_mismatched_sizes` is not set.
        """
        name = pretrained_model_name_or_path
        if name is None:  # the weights come as a state_dict
            return super().from_pretrained(name, *model_args, **kwargs)  # type: ignore[misc]
        if kwargs.setdefault("use_safetensors", True) is False:
            raise ValueError(
                f"{name}: use_safetensors=False would unpickle weights, which can execute code; leave it out"
            )
        saved = saved_config(name, kwargs)
        model_type = cls.config_class.model_type  # type: ignore[attr-defined]
        if saved.get("model_type") != model_type:
            raise CheckpointError(
                f"{name} holds a model of the family {saved.get('model_type')!r}, but {cls.__name__} is of the family "
                f"{model_type!r}; load it with an Auto class, or name another checkpoint"
            )
        _require_safetensors(name, kwargs)
        wants_report = kwargs.pop("output_loading_info", False)
        accepts_other_sizes = kwargs.pop("ignore_mismatched_sizes", False)
        try:
            model, report = super().from_pretrained(  # type: ignore[misc]
                name, *model_args, **kwargs, output_loading_info=True, ignore_mismatched_sizes=True
            )
        except SafetensorError as error:
            raise CheckpointError(
                f"{name}: its safetensors file is damaged ({error}); download or save the checkpoint again"
            ) from error
        if report["mismatched_keys"] and not accepts_other_sizes:
            raise ValueError(_describe_mismatch(str(name), sorted(report["mismatched_keys"]), model.config))
        missing = sorted(report["missing_keys"])
        if missing and cls.__name__ in (saved.get("architectures") or ()):
            raise CheckpointError(
                f"{name} lacks {len(missing)} tensors of {cls.__name__}, the first is {missing[0]!r}: the file is damaged; download or "
                "save the checkpoint again"
            )
        return (model, report) if wants_report else model


_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


def _hub_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: kwargs[key] for key in _HUB_ARGUMENTS if kwargs.get(key) is not None}


def saved_config(name: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What `config.json` of the checkpoint says, whatever configuration the caller gives."""
    return PreTrainedConfig.get_config_dict(name, **_hub_arguments(kwargs))[0]


def _require_safetensors(name: Any, kwargs: dict[str, Any]) -> None:
    if kwargs.get("variant") or kwargs.get("state_dict") is not None:
        return
    for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME):
        if cached_file(name, file, _raise_exceptions_for_missing_entries=False, **_hub_arguments(kwargs)):
            return
    raise CheckpointError(
        f"{name} holds no {SAFE_WEIGHTS_NAME}, and other weights are not read: a pickle (.bin, .pt) can execute code. Ask its owner for "
        "safetensors, or convert checkpoints of known authors with `skeleton-transformers convert`"
    )


def _describe_mismatch(name: str, mismatched: list[tuple[str, tuple, tuple]], config: PreTrainedConfig) -> str:
    key, found, expected = mismatched[0]
    if key.startswith("classifier."):
        return (
            f"{name}: its classifier has {found[0]} classes, but the configuration has {config.num_labels} labels; leave "
            "id2label and num_labels as they were saved, or pass ignore_mismatched_sizes=True for a new classifier to train"
        )
    return (
        f"{name}: {len(mismatched)} tensors have another shape than the configuration says, the first is {key!r} with "
        f"{tuple(found)} instead of {tuple(expected)}; leave the sizes in the configuration as they were saved"
    )


__all__ = ["CheckedLoading", "CheckpointError", "saved_config"]
