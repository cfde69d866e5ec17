"""`skeleton-transformers convert`."""

import pytest
import torch
import typer
from typer.testing import CliRunner

from skeleton_transformers.cli.convert import convert


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    app.command()(convert)
    return app


def test_unknown_family_and_missing_file_are_named(app, tmp_path):
    result = CliRunner().invoke(app, ["videomae", "x.pth", str(tmp_path)])
    assert result.exit_code == 2 and "there is no converter for 'videomae'" in result.output
    result = CliRunner().invoke(app, ["hitrs", str(tmp_path / "x.pth"), str(tmp_path / "out")])
    assert result.exit_code == 1 and "there is no file" in result.output


def test_a_file_that_is_no_checkpoint_is_refused(app, tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    result = CliRunner().invoke(app, ["hitrs", str(tmp_path / "other.pth"), str(tmp_path / "out")])
    assert result.exit_code == 1 and "Error:" in result.output
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_checkpoint_of_hico_becomes_a_folder(app, tmp_path):
    from skeleton_transformers import HiCoConfig, HiCoModel
    from skeleton_transformers.models.hico.convert_hico_original import hico_to_original

    sizes = {"branch_size": 8, "intermediate_size": 8, "num_frames": 16}
    model = HiCoModel(HiCoConfig.from_preset("original", encoder="gru", **sizes))
    torch.save({"state_dict": hico_to_original(model.state_dict(), "module.")}, tmp_path / "query.pth.tar")
    result = CliRunner().invoke(app, ["hico", str(tmp_path / "query.pth.tar"), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    loaded = HiCoModel.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())
