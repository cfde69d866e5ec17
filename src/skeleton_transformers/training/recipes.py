"""Recipes: a training run written down as one YAML file whose keys are the fields of nested dataclasses.

A script declares what it needs as a dataclass and reads it with [`load_recipe`]:

```python
@dataclass
class PreTrainingRecipe(Recipe):
    training: PreTrainingSection = field(default_factory=PreTrainingSection)

recipe = load_recipe("hitrs_demo_pretrain.yaml", PreTrainingRecipe, ["training.max_steps=100"])
```

Nothing is executed and nothing is looked up in a registry: a key that is no field, or a value of another type, is an
error that names the file, the key and what would be right.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml

from ..data.storage import SkeletonStore


if TYPE_CHECKING:
    from ..feature_extraction_skeleton import SkeletonFeatureExtractor
    from ..skeletons import SkeletonLayout


RecipeT = TypeVar("RecipeT")


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names the file, the key and the remedy."""


@dataclass
class ModelSection:
    """Which network to build, or which saved one to continue from.

    Args:
        family: model family, for example `"hitrs"`.
        preset: named size of the family, for example `"base"`; ignored when `from_pretrained` is given.
        from_pretrained: folder or Hub id of saved weights.
        overrides: fields of the family's config that differ from the preset.
    """

    family: str = "hitrs"
    preset: str = "base"
    from_pretrained: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataSection:
    """Which recordings to use.

    Args:
        store: folder of a packed store, or several folders; the first has no joint that another lacks. The protocol splits the first
            one and those of the same corpus; any other store is extra training data and used whole.
        protocol: split of the corpus, for example `"xsub"`; `None` for recordings without an official split.
        train_part: part to train on: `"train"`, `"train-validation"` or `"all"`.
        eval_part: part to evaluate on: `"validation"`, `"test"`, ...
        label_fraction: share of the training labels to use, in (0, 1].
        label_sampling: how that share is drawn, `"stratified"` or `"uniform"`.
        recordings: file with the names of the recordings to use, of the training as of the test part, in the form of
            `save_label_subset`; of one store only. `None` takes all.
        layout: joint layout that the recordings are brought to, joints matched by name (see `SkeletonStore.in_layout`), to
            continue from a model of another layout than theirs; default their own.
    """

    store: str | list[str]
    protocol: str | None = None
    train_part: str = "train"
    eval_part: str = "test"
    label_fraction: float = 1.0
    label_sampling: Literal["stratified", "uniform"] = "stratified"
    recordings: str | None = None
    layout: str | dict[str, Any] | None = None

    @property
    def stores(self) -> list[str]:
        """The store folders as a list, also where the recipe names only one."""
        return [self.store] if isinstance(self.store, str) else list(self.store)

    def open_stores(self) -> list[SkeletonStore]:
        """The stores, in the wanted layout, with the wanted recordings.

        Raises:
            RecipeError: there are several stores for one list of recordings.
        """
        stores = [SkeletonStore.open(folder) for folder in self.stores]
        if self.recordings is not None:
            if len(stores) != 1:
                raise RecipeError(
                    f"data.recordings={self.recordings} is a list for one store, data.store names {len(stores)}"
                )
            from ..evaluation.subsets import load_label_subset

            stores = [stores[0].only(load_label_subset(self.recordings))]
        return stores if self.layout is None else [store.in_layout(self.layout) for store in stores]


@dataclass
class Recipe:
    """What every training script needs; a script subclasses it and adds its own `training` section.

    Args:
        model: network.
        data: recordings.
        output_dir: folder that receives checkpoints, logs and the final model.
        features: arguments of [`SkeletonFeatureExtractor`].
        augmentation: arguments of [`SkeletonAugmentation`]; `None` switches augmentation off.
        seed: seed of everything random in the run.
    """

    model: ModelSection
    data: DataSection
    output_dir: str
    features: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] | None = None
    seed: int = 0


def load_recipe(path: str | Path, cls: type[RecipeT], overrides: Sequence[str] = ()) -> RecipeT:
    """Reads a YAML recipe into a dataclass, checking every key and every type.

    Args:
        path: YAML file.
        cls: dataclass, possibly nested, that says which keys exist and of which type they are.
        overrides: changes from the command line, `"section.field=value"`, the value being YAML.

    Raises:
        RecipeError: an unknown key, a missing key, a value of another type, or an override of another form.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected a mapping of sections, got {type(values).__name__}")
    for override in overrides:
        _apply_override(values, override)
    source = f"{path}" + (f" with {', '.join(overrides)}" if overrides else "")
    return _build(cls, values, source, place="")


def save_recipe(recipe: Any, path: str | Path) -> None:
    """Writes a recipe dataclass as the YAML that [`load_recipe`] reads back to an equal one."""
    text = yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")


def check_keys(given: Iterable[str], known: Iterable[str], source: str, place: str) -> None:
    """Refuses keys that are not known, with the nearest known key as a suggestion.

    Raises:
        RecipeError: naming `source`, the full key (`place.key`), the nearest key and all known ones.
    """
    names = list(known)
    for key in given:
        if key in names:
            continue
        close = difflib.get_close_matches(str(key), names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        full = f"{place}.{key}" if place else str(key)
        raise RecipeError(f"{source}: unknown key {full!r}.{hint} Known keys: {', '.join(sorted(names))}")


def build_model_config(section: ModelSection, layout: SkeletonLayout, num_channels: int, **fields: Any) -> Any:
    """Config of the family that a recipe names, for recordings of one layout.

    Args:
        section: the recipe's model section.
        layout: joint layout of the recordings.
        num_channels: values per joint.
        fields: further config fields, for example `id2label`; the recipe's `overrides` win.
    """
    # The import is late because models need torch, which reading a recipe does not.
    from ..models.families import get_family

    config_class = get_family(section.family).load("configuration")
    known = {name for base in config_class.__mro__ for name in getattr(base, "__annotations__", {})}
    check_keys(section.overrides, known, "recipe", "model.overrides")
    fields = {"layout": layout_reference(layout), "num_channels": num_channels, **fields, **section.overrides}
    if section.from_pretrained is not None:
        return config_class.from_pretrained(section.from_pretrained, **fields)
    return config_class.from_preset(section.preset, **fields)


def build_feature_extractor(
    features: dict[str, Any], layout: SkeletonLayout, from_pretrained: str | None = None, num_channels: int = 3
) -> SkeletonFeatureExtractor:
    """Feature extractor of a recipe: the saved one of a checkpoint, or a new one for `layout` and `num_channels`, changed by `features`.

    Raises:
        RecipeError: `features` has a key that is no argument of the extractor, or the saved extractor is for joints
            other than those of the recordings.
    """
    from ..feature_extraction_skeleton import SkeletonFeatureExtractor
    from ..skeletons import get_layout

    parameters = inspect.signature(SkeletonFeatureExtractor.__init__).parameters.values()
    known = [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]
    check_keys(features, known, "recipe", "features")
    if from_pretrained is None:
        defaults = {"layout": layout_reference(layout), "num_channels": num_channels}
        return SkeletonFeatureExtractor(**{**defaults, **features})
    extractor = SkeletonFeatureExtractor.from_pretrained(from_pretrained, **features)
    joints = get_layout(extractor.layout).joints
    if joints != layout.joints:
        raise RecipeError(
            f"{from_pretrained} expects {len(joints)} joints of layout {get_layout(extractor.layout).name!r}, the "
            f"recordings have {len(layout.joints)} of {layout.name!r}; bring them to its layout with data.layout"
        )
    return extractor


def layout_reference(layout: SkeletonLayout) -> str | dict[str, Any]:
    """What a config stores of a layout: the name where a name says everything, the whole layout where it is custom."""
    from ..skeletons import is_built_in_layout

    return layout.name if is_built_in_layout(layout) else layout.to_dict()


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(f"override {override!r} is not of the form section.field=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"override {override!r}: the value is not valid YAML: {error}") from error
    *sections, name = key.split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise RecipeError(f"override {override!r}: {section!r} is a value, not a section")
    values[name] = value


def _build(cls: type[Any], values: Any, source: str, place: str) -> Any:
    if not isinstance(values, dict):
        raise RecipeError(f"{source}: {place!r} must be a section with keys, got {values!r}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    check_keys(values, fields, source, place)
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, declared in fields.items():
        full = f"{place}.{name}" if place else name
        if name in values:
            arguments[name] = _convert(values[name], hints[name], source, full)
        elif declared.default is MISSING and declared.default_factory is MISSING:
            raise RecipeError(f"{source}: missing key {full!r} ({_type_name(hints[name])})")
    try:
        return cls(**arguments)
    except RecipeError:
        raise
    except ValueError as error:  # checks of the dataclass's own __post_init__
        raise RecipeError(f"{source}: {place or cls.__name__}: {error}") from error


def _convert(value: Any, hint: Any, source: str, place: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    wrong = RecipeError(f"{source}: {place!r} must be {_type_name(hint)}, got {value!r}")
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value, source, place)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        for option in arguments:
            try:
                return _convert(value, option, source, place)
            except RecipeError:
                continue
        raise wrong
    if origin is Literal:
        if not any(value == option and type(value) is type(option) for option in arguments):
            raise wrong
        return value
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise wrong
        if origin is list or arguments[-1:] == (...,):
            item_hints = [arguments[0] if arguments else Any] * len(value)
        elif len(arguments) != len(value):
            raise wrong
        else:
            item_hints = list(arguments)
        return origin(
            _convert(item, item_hint, source, f"{place}[{i}]")
            for i, (item, item_hint) in enumerate(zip(value, item_hints, strict=True))
        )
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise wrong
        item_hint = arguments[1] if arguments else Any
        return {key: _convert(item, item_hint, source, f"{place}.{key}") for key, item in value.items()}
    if hint is float:
        # YAML 1.1 reads 4e-4 (no dot) as text; nobody who writes it means text.
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                raise wrong from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise wrong
    if hint is type(None):
        if value is not None:
            raise wrong
        return None
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise wrong
    return value


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(option) for option in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is not None:
        return str(hint)
    if dataclasses.is_dataclass(hint):
        return "a section"
    return "null" if hint is type(None) else getattr(hint, "__name__", str(hint))


__all__ = [
    "DataSection",
    "ModelSection",
    "Recipe",
    "RecipeError",
    "build_feature_extractor",
    "build_model_config",
    "check_keys",
    "layout_reference",
    "load_recipe",
    "save_recipe",
]
