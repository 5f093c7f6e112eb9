"""The command as a whole: help, versions, errors, and as a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import gristmill as ct
from gristmill.cli import main


@pytest.mark.parametrize("arguments", [[], ["convert"], ["run"], ["info"], ["plan"]])
def test_help(gristmill, arguments):
    """Every command says what it does, within 80 columns."""
    gristmill.columns = 80
    shown = gristmill.ok(*arguments, "--help")
    assert shown.startswith("Usage: ")
    assert "..." not in shown.partition("Commands:")[2]  # no summary is cut off
    assert max(map(len, shown.splitlines())) <= 80


def test_version(gristmill):
    assert ct.__version__ in gristmill.ok("--version")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run"], ["run", "m", "--seed", "x"], ["convert", "m", "--target", "x"]]
)
def test_wrong_usage(gristmill, arguments):
    """Wrong usage has code 2, so that scripts can tell it from a model that fails."""
    result = gristmill(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


def test_debug_shows_where_an_error_comes_from():
    """With --debug the exception itself goes up."""
    result = CliRunner().invoke(main, ["info", "nowhere.mlpackage", "--debug"])
    assert isinstance(result.exception, ct.errors.MissingFileError)


def process(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_as_a_process(linear):
    """``python -m gristmill``: a document alone on the standard output; errors on the other, without traceback."""
    command = (sys.executable, "-m", "gristmill")
    done = process(*command, "run", str(linear), "--random", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(json.loads(done.stdout)["outputs"]) == ["y"]
    failed = process(*command, "info", "nowhere.mlpackage")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "Error: no model is there\n  at: nowhere.mlpackage\n"


def test_installed_script(linear):
    """The script that the package installs is the same command."""
    script = Path(sys.executable).with_name("gristmill")
    done = process(str(script), "info", str(linear), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["kind"] == "mlProgram"


def test_width(linear, monkeypatch):
    """In a pipe lines are as long as they are; ``COLUMNS`` limits them."""
    monkeypatch.delenv("COLUMNS", raising=False)
    command = (sys.executable, "-m", "gristmill", "info", str(linear))
    note = "n" * 100 + "… (300 characters)"
    assert note in process(*command).stdout
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, process(*command).stdout.splitlines()[1:])) <= 60


def test_errors_of_the_system(gristmill, linear, tmp_path):
    """What the system refuses is a sentence and the place, without its number."""
    assert gristmill.error("view", linear, "--no-open", "-o", tmp_path) == f"Error: Is a directory\n  at: {tmp_path}\n"


def test_output_cut_off(linear):
    """``gristmill info … | head -1`` ends quietly."""
    done = process("bash", "-c", f"'{sys.executable}' -m gristmill.cli info '{linear}' --json | head -1")
    assert (done.stdout, done.stderr) == ("{\n", "")
