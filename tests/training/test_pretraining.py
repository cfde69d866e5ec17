"""Which recordings a pre-training recipe trains and validates on."""

import numpy as np
import pytest

from skeleton_transformers import HiCoConfig, HiTRSConfig, SkeletonFeatureExtractor
from skeleton_transformers.data.corpora import split_indices
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStore, SkeletonStoreWriter
from skeleton_transformers.training.pretraining import (
    PreTrainingData,
    PreTrainingRecipe,
    PreTrainingSection,
    build_pretraining_collator,
    build_pretraining_datasets,
    pretraining_split,
)
from skeleton_transformers.training.recipes import ModelSection


def write_store(path, corpus, count, frames=30):
    labels = ("a", "b") if corpus else ()
    with SkeletonStoreWriter(path, "ntu25", frame_rate=30.0, corpus=corpus, label_names=labels) as writer:
        for number in range(count):
            keypoints = np.random.default_rng(number).standard_normal((1, frames, 25, 3)).astype(np.float32)
            writer.add(
                SkeletonSample(
                    keypoints,
                    np.ones((1, frames), dtype=bool),
                    label=number % 2 if corpus else -1,
                    name=f"{corpus}{number}",
                    subject=1 + number % 40,
                    camera=1 + number % 3,
                    setup=1 + number % 17,
                )
            )
    return SkeletonStore.open(path)


def make_recipe(**data):
    return PreTrainingRecipe(
        model=ModelSection(preset="tiny"),
        data=PreTrainingData(store="unused", **data),
        output_dir="unused",
        augmentation={"probability": 0.5},
    )


def test_a_protocol_never_gives_its_test_part(tmp_path):
    store = write_store(tmp_path / "store", "ntu60", 120)
    (train,), (validation,) = pretraining_split(make_recipe(protocol="xsub"), [store])
    official = split_indices(store, "xsub", "train")
    assert len(validation) > 0 and not set(train) & set(validation)
    assert set(train) | set(validation) == set(official.tolist())
    assert not (set(train) | set(validation)) & set(split_indices(store, "xsub", "test").tolist())


def test_the_test_part_cannot_be_asked_for(tmp_path):
    from skeleton_transformers.training.recipes import RecipeError, load_recipe

    path = tmp_path / "recipe.yaml"
    path.write_text("model: {preset: tiny}\ndata: {store: s, eval_part: test}\noutput_dir: r\n")
    with pytest.raises(RecipeError, match="'data.eval_part' must be one of 'validation', 'train', got 'test'"):
        load_recipe(path, PreTrainingRecipe)


def test_recordings_without_protocol_hold_back_a_share(tmp_path):
    store = write_store(tmp_path / "store", "", 50)
    (train,), (validation,) = pretraining_split(make_recipe(validation_share=0.1), [store])
    assert len(validation) == 5 and sorted([*train, *validation]) == list(range(50))


def test_other_corpora_are_extra_training_data(tmp_path):
    stores = [write_store(tmp_path / "ntu", "ntu60", 80), write_store(tmp_path / "other", "", 7)]
    train, validation = pretraining_split(make_recipe(protocol="xsub"), stores)
    assert train[1].tolist() == list(range(7)) and len(validation[1]) == 0
    config = HiTRSConfig.from_preset("tiny")
    train_set, validation_set = build_pretraining_datasets(
        make_recipe(protocol="xsub"), stores, SkeletonFeatureExtractor(), config
    )
    assert len(train_set) == len(train[0]) + 7 and len(validation_set) == len(validation[0])
    assert train_set.pipeline.augmentation is not None and validation_set.pipeline.augmentation is None


def test_sequences_are_long_enough_for_the_clips_of_the_model(tmp_path):
    store = write_store(tmp_path / "store", "", 20, frames=18)
    with pytest.raises(ValueError, match="shorter than 19 frames"):
        build_pretraining_datasets(make_recipe(), [store], SkeletonFeatureExtractor(), HiTRSConfig.from_preset("tiny"))
    config = HiTRSConfig.from_preset("tiny", clip_stride=4, mask_probability=0.3)
    train_set, _ = build_pretraining_datasets(make_recipe(), [store], SkeletonFeatureExtractor(), config)
    collator = build_pretraining_collator(config, seed=5)
    assert (collator.clip_stride, collator.mask_probability, collator.seed) == (4, 0.3, 5)
    assert collator([train_set[i] for i in range(4)])["clip_permutation"].shape[1] >= 3


@pytest.mark.parametrize("field", ["max_steps", "batch_size", "log_every"])
def test_settings_out_of_range_are_refused(field):
    with pytest.raises(ValueError, match=field):
        PreTrainingSection(**{field: 0})
    with pytest.raises(ValueError, match="warmup_steps=10 must be less than max_steps=10"):
        PreTrainingSection(max_steps=10, warmup_steps=10)


def test_steps_of_the_rate_and_their_epochs_go_together():
    with pytest.raises(ValueError, match="decay_epochs=.* does not go with schedule=steps"):
        PreTrainingSection(schedule="steps")
    with pytest.raises(ValueError, match="does not go with schedule=linear"):
        PreTrainingSection(decay_epochs=[3])
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        PreTrainingSection(epochs=0)


def test_a_family_says_what_its_items_are(tmp_path):
    """HiCo takes all persons of sequences of any length, in two views, also to validate on."""
    store = write_store(tmp_path / "store", "", 20, frames=9)
    recipe = make_recipe()
    recipe.augmentation = {"probability": 1.0, "spatial": ["shear"], "temporal": []}
    sets = build_pretraining_datasets(recipe, [store], SkeletonFeatureExtractor(), HiCoConfig.from_preset("tiny"))
    collator = build_pretraining_collator(HiCoConfig.from_preset("tiny"), seed=0)
    for each in sets:
        items = [each[0], each[0]]
        batch = collator(items)
        assert batch.keys() == {"keypoints", "frame_mask", "second_keypoints", "second_frame_mask"}
        assert batch["keypoints"].shape == batch["second_keypoints"].shape == (2, 1, 9, 25, 3)
        assert (batch["keypoints"] - batch["second_keypoints"]).abs().max() > 1e-3
        assert (batch["keypoints"][0] == batch["keypoints"][1]).all()  # the same key, the same draw


def test_a_family_without_pre_training_is_named():
    class Config:
        model_type = "hico"

    from skeleton_transformers.models import families

    original = families.FAMILIES["hico"]
    try:
        families.FAMILIES["hico"] = families.Family("hico", "HiCoConfig", "HiCoModel")
        with pytest.raises(ValueError, match="the family 'hico' has no pre-training of its own"):
            build_pretraining_collator(Config(), 0)
    finally:
        families.FAMILIES["hico"] = original
