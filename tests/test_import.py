"""What `import skeleton_transformers` costs, prints and registers, each checked in a fresh interpreter."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HF_HOME": "/nonexistent"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_import_is_silent_and_loads_no_heavy_module():
    output = run(
        "import sys, skeleton_transformers; "
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy', 'matplotlib', 'socket') if m in sys.modules])"
    )
    assert output == "[]\n"


def test_every_public_name_resolves():
    assert run("import skeleton_transformers as s; [getattr(s, n) for n in s.__all__]; print('fine')") == "fine\n"


def test_an_unknown_name_is_an_attribute_error():
    code = "import skeleton_transformers as s\ntry: s.Nothing\nexcept AttributeError as e: print(e)"
    assert run(code) == "module 'skeleton_transformers' has no attribute 'Nothing'\n"


@pytest.mark.parametrize(
    "imports",
    [
        "import skeleton_transformers; from transformers import AutoConfig, AutoModel, AutoFeatureExtractor",
        "from transformers import AutoConfig, AutoModel, AutoFeatureExtractor; import skeleton_transformers",
        "from transformers import AutoConfig; import skeleton_transformers; from transformers import AutoModel, AutoFeatureExtractor",
        # modules of transformers and of another family that import the Auto classes while they are half imported themselves
        "import skeleton_transformers; from transformers import BertModel, AutoConfig, AutoModel, AutoFeatureExtractor",
        "from skeleton_transformers import HiCoModel; from transformers import AutoConfig, AutoModel, AutoFeatureExtractor",
    ],
)
def test_auto_classes_know_the_families_in_any_order_of_imports(imports, tmp_path):
    from skeleton_transformers import HiTRSConfig, HiTRSModel, SkeletonFeatureExtractor

    HiTRSModel(HiTRSConfig.from_preset("tiny")).save_pretrained(tmp_path)
    SkeletonFeatureExtractor().save_pretrained(tmp_path)
    names = run(
        f"{imports}\n"
        f"classes = (AutoConfig, AutoModel, AutoFeatureExtractor)\n"
        f"print(*(type(c.from_pretrained({str(tmp_path)!r})).__name__ for c in classes))"
    )
    assert "HiTRSConfig HiTRSModel SkeletonFeatureExtractor" in names.splitlines()


def test_detection_and_prediction_have_auto_classes(tmp_path):
    from transformers import AutoModelForAudioFrameClassification, AutoModelForTimeSeriesPrediction

    import skeleton_transformers as s

    config = s.HiTRSConfig.from_preset("tiny", num_labels=3)
    for model, auto_classes in (
        (s.HiTRSForActionDetection, (s.AutoModelForActionDetection, AutoModelForAudioFrameClassification)),
        (s.HiTRSForMotionPrediction, (s.AutoModelForMotionPrediction, AutoModelForTimeSeriesPrediction)),
    ):
        model(config).save_pretrained(tmp_path / model.__name__)
        for auto_class in auto_classes:
            assert type(auto_class.from_pretrained(tmp_path / model.__name__)) is model


def test_tasks_have_their_own_auto_class_and_the_fitting_one_of_transformers(tmp_path):
    from transformers import AutoModelForPreTraining, AutoModelForVideoClassification

    from skeleton_transformers import (
        AutoModelForActionRecognition,
        HiTRSConfig,
        HiTRSForActionRecognition,
        HiTRSForPreTraining,
    )

    HiTRSForActionRecognition(HiTRSConfig.from_preset("tiny", num_labels=3)).save_pretrained(tmp_path)
    assert type(AutoModelForActionRecognition.from_pretrained(tmp_path)) is HiTRSForActionRecognition
    assert type(AutoModelForVideoClassification.from_pretrained(tmp_path)) is HiTRSForActionRecognition
    assert type(AutoModelForPreTraining.from_pretrained(tmp_path)) is HiTRSForPreTraining
