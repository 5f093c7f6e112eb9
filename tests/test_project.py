"""The project's own rules that no linter knows: what its text may say, where its links lead, what an import costs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SELF = Path(__file__).relative_to(ROOT)


def _tracked(*patterns: str) -> list[Path]:
    # A checkout that another user owns, as in a container, is read all the same.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _config() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_text_names_no_absolute_path_of_a_machine_and_leaves_no_promises():
    """A path of one machine is wrong on every other; what is left to do belongs in the tracker."""
    forbidden = re.compile(r"(?<![\w.])/(work|tmp|root)/|\bTODO\b|\bFIXME\b|\bXXX\b")
    found = []
    for path in _tracked():
        if path == SELF:
            continue
        try:
            lines = (ROOT / path).read_text().splitlines()
        except UnicodeDecodeError:
            continue  # a binary test file
        found += [f"{path}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if forbidden.search(line)]
    assert not found, "\n".join(found)


def test_links_between_documents_resolve():
    """A relative link in a Markdown file names a file that is there."""
    broken = [
        f"{path}: {target}"
        for path in _tracked("*.md")
        for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / path).read_text())
        if "://" not in target and not (ROOT / path.parent / target).exists()
    ]
    assert not broken, "\n".join(broken)


def test_changelog_fragments_have_a_topic_a_known_kind_and_text():
    """Towncrier passes over a file whose kind it does not know: such a change would never be announced."""
    kinds = [kind["directory"] for kind in _config()["tool"]["towncrier"]["type"]]
    for path in _tracked("changelog.d"):
        if path.name != "README.md":
            assert re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(kinds)})\.md", path.name), path
            assert (ROOT / path).read_text().strip(), path


def test_demo_group_repeats_the_dependencies_of_the_package():
    """The pinned environment installs the package without its dependencies, so the group must name them all."""
    config = _config()
    group = config["dependency-groups"]["demo"]
    assert set(config["project"]["dependencies"]) <= set(group)
    extra = [
        entry for entry in config["project"]["optional-dependencies"]["demo"] if not entry.startswith("gristmill[")
    ]
    assert set(extra) <= set(group)


def test_every_package_of_the_environment_is_pinned():
    """What is installed is what the constraints say, so that two machines test the same."""
    pins = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins if not line.startswith("#"))


@pytest.mark.parametrize("module", ["gristmill", "gristmill.cli"])
def test_import_loads_no_framework_and_no_protobuf(module):
    """Importing the package stays cheap: heavy modules are loaded by the first call that needs them."""
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    heavy = {"torch", "google.protobuf", "coremltools", "onnx", "tensorflow", "scipy", "PIL", "rich", "click"}
    if module == "gristmill.cli":
        heavy -= {"rich", "click"}
    assert not heavy & set(json.loads(loaded))
