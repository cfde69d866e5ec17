import json

import pytest
from typer.testing import CliRunner

from skeleton_transformers import HiTRSConfig, HiTRSModel
from skeleton_transformers.cli.main import app


def run(*arguments):
    return CliRunner().invoke(
        app, ["profile", *map(str, arguments), "--frames", "20", "--batch", "2", "--repeats", "1"]
    )


def test_a_preset_and_a_saved_model_cost_the_same(tmp_path):
    HiTRSModel(HiTRSConfig.from_preset("tiny")).save_pretrained(tmp_path / "model")
    found = [json.loads(run(model, "--json").stdout) for model in ("hitrs:tiny", tmp_path / "model")]
    assert found[0]["flops"] == found[1]["flops"]
    assert found[0]["parameters"] == found[1]["parameters"]
    assert found[0]["num_frames"] == 20


def test_it_reads_in_words():
    output = run("hitrs:tiny", "--training").output
    assert "forward and backward pass of 2 x 1 x 20 frames" in output
    assert "GFLOP" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hitrs:huge"], "HiTRSConfig has no preset 'huge'; presets are tiny, "),
        (["hitters:tiny"], "There is no model family 'hitters'"),
        (["mcc:tiny"], "mcc has no encoder of its own; name the family of its backbone"),
        (["hitrs:tiny", "--dtype", "int8"], "--dtype must be float32, bfloat16 or float16, got 'int8'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output
