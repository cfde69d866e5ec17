"""Registration with the Auto classes of `transformers`, at no cost to `import skeleton_transformers`.

Registering needs our classes, and those need the modelling code of `transformers` (seconds). So each registration waits
until the module it belongs to is imported: `AutoConfig`, `AutoFeatureExtractor`, the `AutoModel*` classes and `pipeline` live
in four modules, and nobody can use them without importing those. The module of a family imports them in turn, before it has
its classes; therefore its models are registered when it ends, too.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType

from .models.families import ENSEMBLE, FAMILIES


def _register_configurations() -> None:
    from transformers import AutoConfig

    for family in (*FAMILIES.values(), ENSEMBLE):
        AutoConfig.register(family.model_type, family.load("configuration"), exist_ok=True)


def _register_feature_extractors() -> None:
    from transformers import AutoFeatureExtractor

    from .feature_extraction_skeleton import SkeletonFeatureExtractor
    from .models.skeleton_ensemble.feature_extraction_skeleton_ensemble import SkeletonEnsembleFeatureExtractor

    AutoFeatureExtractor.register(ENSEMBLE.load("configuration"), SkeletonEnsembleFeatureExtractor, exist_ok=True)
    for family in FAMILIES.values():
        AutoFeatureExtractor.register(family.load("configuration"), SkeletonFeatureExtractor, exist_ok=True)


def _register_models() -> None:
    # The module with the layers that families need imports the Auto classes before it has them, and registers at its own end.
    layers = sys.modules.get(_LAYERS)
    if layers is not None and not hasattr(layers, "GradientCheckpointingLayer"):
        return

    from .models import auto

    # Where it was that module that asked for the Auto classes, it is half imported and registers at its own end.
    if hasattr(auto, "register_models"):
        auto.register_models()


def _register_pipelines() -> None:
    from . import pipelines

    # Where it was our module that asked for `pipeline`, it is half imported and registers at its own end.
    if hasattr(pipelines, "register_pipelines"):
        pipelines.register_pipelines()


_LAYERS = "transformers.modeling_layers"

_REGISTRATIONS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _register_configurations,
    "transformers.models.auto.feature_extraction_auto": _register_feature_extractors,
    "transformers.models.auto.modeling_auto": _register_models,
    _LAYERS: _register_models,
    "transformers.pipelines": _register_pipelines,
    **{name: _register_models for family in (*FAMILIES.values(), ENSEMBLE) for name in family.modules},
}


class _LoaderThatRegisters(importlib.abc.Loader):
    """Loads a module with its own loader, then runs our registration for it."""

    def __init__(self, loader: importlib.abc.Loader, register: Callable[[], None]):
        self.loader = loader
        self.register = register

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        # From here on the module is its loader's alone: tools that inspect it see nothing of ours.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.register()


class _AutoModuleFinder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _REGISTRATIONS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _LoaderThatRegisters(spec.loader, _REGISTRATIONS[fullname])
        return spec


def install() -> None:
    """Register now what can be registered now, and the rest when its Auto module is imported."""
    if any(isinstance(finder, _AutoModuleFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _AutoModuleFinder())
    for name, register in _REGISTRATIONS.items():
        if name in sys.modules:
            register()
