import json

import numpy as np
from typer.testing import CliRunner

from skeleton_transformers.cli.main import app
from skeleton_transformers.data.corpora import get_corpus
from skeleton_transformers.data.storage import SkeletonSample, SkeletonStoreWriter


def run(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def make_store(path, names):
    with SkeletonStoreWriter(
        path, "kinect20", 30, label_names=get_corpus("utd-mhad").label_names, corpus="utd-mhad"
    ) as writer:
        for name in names:
            action, subject, _ = (int(part[1:]) for part in name.split("_"))
            keypoints = np.ones((1, 1, 20, 3), np.float32)
            writer.add(SkeletonSample(keypoints, np.ones((1, 1), bool), label=action - 1, name=name, subject=subject))
    return path


def test_exit_codes_and_output(tmp_path):
    names = sorted(get_corpus("utd-mhad").expected.names)
    result = run(make_store(tmp_path / "all", names))
    assert (result.exit_code, result.output) == (
        0,
        "complete: all 861 recordings of utd-mhad that can be used are there\n",
    )
    less = make_store(tmp_path / "less", names[:-20])
    result = run(less)
    assert result.exit_code == 1
    assert "not complete: 841 recordings, the complete corpus has 861 usable ones of 861" in result.output
    assert "missing recordings: 20" in result.output and names[-1] not in result.output
    assert names[-1] in run(less, "--all").output
    described = json.loads(run(less, "--json").output)
    assert described["missing_names"] == names[-20:] and described["complete"] is False
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 2 and "is not a skeleton store" in " ".join(result.output.split())
