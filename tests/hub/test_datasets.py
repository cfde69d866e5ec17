import pytest

from skeleton_transformers.data.corpora import PreparationOptions
from skeleton_transformers.data.preparation import prepare_corpus
from skeleton_transformers.data.shards import write_shards
from skeleton_transformers.data.storage import SkeletonStore, SkeletonStoreWriter


@pytest.fixture
def python(run_client):
    """Runs code with the client; gives what it printed, or what went wrong."""

    def run(code):
        result = run_client(code)
        return result.stdout.strip() if result.returncode == 0 else result.stderr

    return run


def push(folder, repository, **options):
    return (
        "from skeleton_transformers.hub.datasets import push_dataset_to_hub\n"
        f"print(push_dataset_to_hub({str(folder)!r}, {repository!r}, **{options!r}))"
    )


_LOAD = """
import numpy as np
from datasets import load_dataset
from skeleton_transformers.data.shards import SkeletonShards
whole = load_dataset("me/takes", split="train").with_format("numpy")
streamed = [row["name"] for row in load_dataset("me/takes", split="train", streaming=True)]
shards = SkeletonShards("hf://datasets/me/takes")
shards.verify()
samples = list(shards)
assert streamed == [sample.name for sample in samples] == list(whole["name"])
row = whole[5]
assert np.array_equal(row["keypoints"].reshape(row["shape"]), samples[5].keypoints)
print(len(samples), whole.features["label"].names[0], shards.store_checksum)
"""


def test_a_pushed_data_set_is_loaded_from_the_hub(hub, python, tmp_path):
    options = PreparationOptions(sequences=20)
    prepare_corpus(
        "synthetic", None, tmp_path / "store", options, workers=1, progress=False, parquet=tmp_path / "shards"
    )
    store = SkeletonStore.open(tmp_path / "store")
    address = python(push(tmp_path / "shards", "me/takes", commit_message="First takes"))
    assert address.endswith(f"/datasets/me/takes/commit/{1:040x}"), address
    files = ["README.md", "shards.json", "data/train-00000-of-00001.parquet"]
    assert hub.commits == [("me/takes", "First takes", files)] and hub.private == {"me/takes": True}
    assert b'load_dataset("me/takes", split="train")' in hub.files["me/takes"]["README.md"]
    assert python(_LOAD) == f"20 {store.label_names[0]} {store.checksum}"

    # a smaller data set takes the place of the first, in one commit
    hub.files["me/takes"]["data/train-00000-of-00002.parquet"] = b"of an upload long ago"
    hub.files["me/takes"]["notes.txt"] = b"somebody's"
    with SkeletonStoreWriter(tmp_path / "fewer", store.layout, 30.0, label_names=store.label_names) as writer:
        for index in range(6):
            writer.add(store[index])
    write_shards(
        SkeletonStore.open(tmp_path / "fewer"), tmp_path / "shards", overwrite=True, workers=1, progress=False
    )
    assert python(push(tmp_path / "shards", "me/takes")).endswith(f"{2:040x}")
    assert sorted(hub.files["me/takes"]) == sorted([*files, "notes.txt"]) and len(hub.commits) == 2
    assert python(_LOAD).startswith("6 ")


def test_what_is_damaged_or_not_ones_own_is_not_pushed(hub, python, tmp_path):
    with SkeletonStoreWriter(tmp_path / "store", "ntu25", 30.0, corpus="ntu60", label_names=("a",) * 60) as writer:
        prepare_corpus(
            "synthetic", None, tmp_path / "made", PreparationOptions(sequences=1), workers=1, progress=False
        )
        writer.add(SkeletonStore.open(tmp_path / "made")[0])
    write_shards(SkeletonStore.open(tmp_path / "store"), tmp_path / "shards", workers=1, progress=False)
    message = "me/ntu: NTU RGB+D is not yours to publish (research use"
    assert message in python(push(tmp_path / "shards", "me/ntu", private=False)) and not hub.files
    hub.files["me/ntu"], hub.private["me/ntu"] = {}, False
    assert message in python(push(tmp_path / "shards", "me/ntu")) and not hub.commits
    hub.private["me/ntu"] = True
    assert python(push(tmp_path / "shards", "me/ntu")).endswith(f"{1:040x}")
    file = next((tmp_path / "shards" / "data").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    assert "the file was damaged or exchanged" in python(push(tmp_path / "shards", "me/ntu")) and len(hub.commits) == 1
