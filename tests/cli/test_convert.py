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
