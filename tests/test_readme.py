"""README.md tells the truth: its code runs, and prints what it says."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.peers import report
from gristmill.cli import main

README = Path(__file__).parent.parent / "README.md"

# What differs between machines and runs: rounding errors, versions, what depends on the length of a path or on time.
VARYING = re.compile(r"by [0-9.e-]+ of|torch==\S+|[0-9.]+ (kB|characters|ms|s)\b|─+")


def blocks(kind: str) -> list[str]:
    """The code blocks of a language, or of none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language == kind]


def essence(text: str) -> list[str]:
    """What must agree: words in order, whatever their layout."""
    return VARYING.sub(" ", text).split()


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory):
    """The folder where the quick start ran, and what it printed."""
    folder = tmp_path_factory.mktemp("readme")
    code = blocks("python")[0]
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert process.returncode == 0, process.stderr
    return folder, process.stdout


def test_quick_start(quick_start):
    """The code prints the block that follows it."""
    _, printed = quick_start
    (shown,) = [block for block in blocks("") if block.startswith("MLModel (mlProgram)")]
    assert printed == shown


def test_mending(tmp_path):
    """What overflows, and what mends it, in the words that README prints; figures in the last place may differ."""
    code = blocks("python")[1]
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert process.returncode == 0, process.stderr
    (shown,) = [block for block in blocks("") if block.startswith("square ")]
    figures = re.compile(r"\d+(\.\d+)?(e[+-]\d+)?")
    assert figures.sub("#", process.stdout).split() == figures.sub("#", shown).split()


def test_models_of_sklearn(tmp_path):
    """The code prints the block that follows it."""
    (code,) = [block for block in blocks("python") if "converters.sklearn" in block]
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert process.returncode == 0, process.stderr
    (shown,) = [block for block in blocks("") if block.startswith("MLModel (pipelineClassifier)")]
    assert process.stdout == shown


def test_commands(quick_start, monkeypatch):
    """Every command that README shows prints what stands below it."""
    folder, _ = quick_start
    monkeypatch.chdir(folder)
    shown = [block for block in blocks("") if block.startswith("$ gristmill ")]
    assert len(shown) >= 2
    for block in shown:
        command, _, printed = block.partition("\n")
        result = CliRunner(env={"COLUMNS": "80"}).invoke(main, shlex.split(command)[2:])
        assert result.exit_code == 0, result.output
        assert essence(result.stdout) == essence(printed)


def test_links_lead_somewhere():
    """Every file that README links to is there."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target


def test_the_table_beside_other_engines_is_what_was_measured():
    """It comes from the results that ``python -m benchmarks.peers --json`` wrote, by ``--report`` and ``--readme``."""
    results = json.loads((README.parent / "benchmarks/peers/results.json").read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    assert report.renew(text, results) == text
