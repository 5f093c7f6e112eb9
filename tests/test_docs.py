"""Pages of documentation tell the truth: their code runs, in order, and prints what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every block of code."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["boosted-trees.md", "debugging.md"])
def test_the_code_prints_what_the_page_says(page, tmp_path):
    """All blocks are one program; what it prints are the blocks without a language, but for commands."""
    code = "\n".join(text for language, text in blocks(page) if language == "python")
    shown = "".join(text for language, text in blocks(page) if not language and not text.startswith("$ "))
    (tmp_path / "page.py").write_text(code)  # as a file: then PyTorch knows its lines
    process = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == shown
