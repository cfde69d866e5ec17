"""Pretrained encoders of human skeleton sequences.

Importing the package registers its models with the Auto classes of `transformers`. Everything else is loaded on first
use, so that the import itself costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import _registration
from ._version import __version__


# Public name -> module that defines it. A new family adds its names here.
_PUBLIC = {
    "AGCNConfig": "models.agcn.configuration_agcn",
    "AGCNForActionDetection": "models.agcn.modeling_agcn",
    "AGCNForActionRecognition": "models.agcn.modeling_agcn",
    "AGCNForMotionPrediction": "models.agcn.modeling_agcn",
    "AGCNModel": "models.agcn.modeling_agcn",
    "ASGCNConfig": "models.asgcn.configuration_asgcn",
    "ASGCNForActionDetection": "models.asgcn.modeling_asgcn",
    "ASGCNForActionRecognition": "models.asgcn.modeling_asgcn",
    "ASGCNForMotionPrediction": "models.asgcn.modeling_asgcn",
    "ASGCNForPreTraining": "models.asgcn.modeling_asgcn",
    "ASGCNModel": "models.asgcn.modeling_asgcn",
    "AutoModelForActionDetection": "models.auto",
    "AutoModelForActionRecognition": "models.auto",
    "AutoModelForMotionPrediction": "models.auto",
    "BatchAugmentation": "data.batch_augmentation",
    "CleaningOptions": "data.cleaning",
    "HiCoConfig": "models.hico.configuration_hico",
    "HiCoForActionDetection": "models.hico.modeling_hico",
    "HiCoForActionRecognition": "models.hico.modeling_hico",
    "HiCoForMotionPrediction": "models.hico.modeling_hico",
    "HiCoForPreTraining": "models.hico.modeling_hico",
    "HiCoModel": "models.hico.modeling_hico",
    "HiTRSConfig": "models.hitrs.configuration_hitrs",
    "HiTRSForActionDetection": "models.hitrs.modeling_hitrs",
    "HiTRSForActionRecognition": "models.hitrs.modeling_hitrs",
    "HiTRSForMotionPrediction": "models.hitrs.modeling_hitrs",
    "HiTRSForPreTraining": "models.hitrs.modeling_hitrs",
    "HiTRSModel": "models.hitrs.modeling_hitrs",
    "MAMPConfig": "models.mamp.configuration_mamp",
    "MAMPForActionDetection": "models.mamp.modeling_mamp",
    "MAMPForActionRecognition": "models.mamp.modeling_mamp",
    "MAMPForMotionPrediction": "models.mamp.modeling_mamp",
    "MAMPForPreTraining": "models.mamp.modeling_mamp",
    "MAMPModel": "models.mamp.modeling_mamp",
    "MCCConfig": "models.mcc.configuration_mcc",
    "MCCForPreTraining": "models.mcc.modeling_mcc",
    "STGCNConfig": "models.stgcn.configuration_stgcn",
    "STGCNForActionDetection": "models.stgcn.modeling_stgcn",
    "STGCNForActionRecognition": "models.stgcn.modeling_stgcn",
    "STGCNForMotionPrediction": "models.stgcn.modeling_stgcn",
    "STGCNModel": "models.stgcn.modeling_stgcn",
    "SkeletonAugmentation": "data.augmentation",
    "SkeletonEnsembleConfig": "models.skeleton_ensemble.configuration_skeleton_ensemble",
    "SkeletonEnsembleFeatureExtractor": "models.skeleton_ensemble.feature_extraction_skeleton_ensemble",
    "SkeletonEnsembleForActionRecognition": "models.skeleton_ensemble.modeling_skeleton_ensemble",
    "SkeletonFeatureExtractor": "feature_extraction_skeleton",
    "SkeletonLayout": "skeletons",
    "SkeletonRecording": "data.recordings",
    "SkeletonSample": "data.storage",
    "SkeletonStore": "data.storage",
    "SkeletonStoreWriter": "data.storage",
    "StreamingRecognizer": "pipelines.streaming",
    "StudentTeacherConfig": "models.student_teacher.configuration_student_teacher",
    "StudentTeacherForActionDetection": "models.student_teacher.modeling_student_teacher",
    "StudentTeacherForActionRecognition": "models.student_teacher.modeling_student_teacher",
    "StudentTeacherForMotionPrediction": "models.student_teacher.modeling_student_teacher",
    "StudentTeacherForPreTraining": "models.student_teacher.modeling_student_teacher",
    "StudentTeacherModel": "models.student_teacher.modeling_student_teacher",
    "clean": "data.cleaning",
    "convert_layout": "skeletons",
    "get_layout": "skeletons",
    "list_layouts": "skeletons",
    "read_skeletons": "data.recordings",
    "register_layout": "skeletons",
}

if TYPE_CHECKING:
    from .data.augmentation import SkeletonAugmentation
    from .data.batch_augmentation import BatchAugmentation
    from .data.cleaning import CleaningOptions, clean
    from .data.recordings import SkeletonRecording, read_skeletons
    from .data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter
    from .feature_extraction_skeleton import SkeletonFeatureExtractor
    from .models.agcn.configuration_agcn import AGCNConfig
    from .models.agcn.modeling_agcn import (
        AGCNForActionDetection,
        AGCNForActionRecognition,
        AGCNForMotionPrediction,
        AGCNModel,
    )
    from .models.asgcn.configuration_asgcn import ASGCNConfig
    from .models.asgcn.modeling_asgcn import (
        ASGCNForActionDetection,
        ASGCNForActionRecognition,
        ASGCNForMotionPrediction,
        ASGCNForPreTraining,
        ASGCNModel,
    )
    from .models.auto import AutoModelForActionDetection, AutoModelForActionRecognition, AutoModelForMotionPrediction
    from .models.hico.configuration_hico import HiCoConfig
    from .models.hico.modeling_hico import (
        HiCoForActionDetection,
        HiCoForActionRecognition,
        HiCoForMotionPrediction,
        HiCoForPreTraining,
        HiCoModel,
    )
    from .models.hitrs.configuration_hitrs import HiTRSConfig
    from .models.hitrs.modeling_hitrs import (
        HiTRSForActionDetection,
        HiTRSForActionRecognition,
        HiTRSForMotionPrediction,
        HiTRSForPreTraining,
        HiTRSModel,
    )
    from .models.mamp.configuration_mamp import MAMPConfig
    from .models.mamp.modeling_mamp import (
        MAMPForActionDetection,
        MAMPForActionRecognition,
        MAMPForMotionPrediction,
        MAMPForPreTraining,
        MAMPModel,
    )
    from .models.mcc.configuration_mcc import MCCConfig
    from .models.mcc.modeling_mcc import MCCForPreTraining
    from .models.skeleton_ensemble.configuration_skeleton_ensemble import SkeletonEnsembleConfig
    from .models.skeleton_ensemble.feature_extraction_skeleton_ensemble import SkeletonEnsembleFeatureExtractor
    from .models.skeleton_ensemble.modeling_skeleton_ensemble import SkeletonEnsembleForActionRecognition
    from .models.stgcn.configuration_stgcn import STGCNConfig
    from .models.stgcn.modeling_stgcn import (
        STGCNForActionDetection,
        STGCNForActionRecognition,
        STGCNForMotionPrediction,
        STGCNModel,
    )
    from .models.student_teacher.configuration_student_teacher import StudentTeacherConfig
    from .models.student_teacher.modeling_student_teacher import (
        StudentTeacherForActionDetection,
        StudentTeacherForActionRecognition,
        StudentTeacherForMotionPrediction,
        StudentTeacherForPreTraining,
        StudentTeacherModel,
    )
    from .pipelines.streaming import StreamingRecognizer
    from .skeletons import SkeletonLayout, convert_layout, get_layout, list_layouts, register_layout


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


_registration.install()

__all__ = [
    "AGCNConfig",
    "AGCNForActionDetection",
    "AGCNForActionRecognition",
    "AGCNForMotionPrediction",
    "AGCNModel",
    "ASGCNConfig",
    "ASGCNForActionDetection",
    "ASGCNForActionRecognition",
    "ASGCNForMotionPrediction",
    "ASGCNForPreTraining",
    "ASGCNModel",
    "AutoModelForActionDetection",
    "AutoModelForActionRecognition",
    "AutoModelForMotionPrediction",
    "BatchAugmentation",
    "CleaningOptions",
    "HiCoConfig",
    "HiCoForActionDetection",
    "HiCoForActionRecognition",
    "HiCoForMotionPrediction",
    "HiCoForPreTraining",
    "HiCoModel",
    "HiTRSConfig",
    "HiTRSForActionDetection",
    "HiTRSForActionRecognition",
    "HiTRSForMotionPrediction",
    "HiTRSForPreTraining",
    "HiTRSModel",
    "MAMPConfig",
    "MAMPForActionDetection",
    "MAMPForActionRecognition",
    "MAMPForMotionPrediction",
    "MAMPForPreTraining",
    "MAMPModel",
    "MCCConfig",
    "MCCForPreTraining",
    "STGCNConfig",
    "STGCNForActionDetection",
    "STGCNForActionRecognition",
    "STGCNForMotionPrediction",
    "STGCNModel",
    "SkeletonAugmentation",
    "SkeletonEnsembleConfig",
    "SkeletonEnsembleFeatureExtractor",
    "SkeletonEnsembleForActionRecognition",
    "SkeletonFeatureExtractor",
    "SkeletonLayout",
    "SkeletonRecording",
    "SkeletonSample",
    "SkeletonStore",
    "SkeletonStoreWriter",
    "StreamingRecognizer",
    "StudentTeacherConfig",
    "StudentTeacherForActionDetection",
    "StudentTeacherForActionRecognition",
    "StudentTeacherForMotionPrediction",
    "StudentTeacherForPreTraining",
    "StudentTeacherModel",
    "__version__",
    "clean",
    "convert_layout",
    "get_layout",
    "list_layouts",
    "read_skeletons",
    "register_layout",
]
