"""The command line: commands, help, and errors in words."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stratnb.cli import app
from stratnb.ui import serve

runner = CliRunner()


def test_help_names_the_commands() -> None:
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(name in result.output for name in ("dashboard", "lab", "version"))


def test_version_is_that_of_the_package() -> None:
    assert runner.invoke(app, ["version"]).output.strip() == version("stratnb")


def test_a_missing_notebook_is_an_error_in_words(tmp_path: Path) -> None:
    result = runner.invoke(app, ["dashboard", "--notebook", str(tmp_path / "no.ipynb")])
    assert result.exit_code == 2
    assert "[file_not_found] notebook" in result.output
    assert "Traceback" not in result.output


def test_dashboard_hands_over_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[serve.Server] = []
    monkeypatch.setattr(serve, "serve", lambda server, **_: started.append(server) or 0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "page.ipynb").touch()
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("open_time_ms,open,high,low,close,volume\n0,1,1,1,1,1\n60000,1,1,1,1,1\n")
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    result = runner.invoke(app, ["dashboard", "--notebook", str(tmp_path / "page.ipynb"), "--", *files])
    assert result.exit_code == 0, result.output
    assert [str(path) for path in serve.data_files(started[0].environment)] == files
    journal = serve.journal_file(started[0].environment)
    assert journal is not None and journal.parent.parent == tmp_path / "stratnb"
    assert (journal.parent / "engine.toml").exists() and (journal.parent.parent / "operator.token").exists()
