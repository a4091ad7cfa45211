"""docs/python.md: its examples do what stands below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from conftest import EXAMPLES, ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("nano")  # which sets one thread, as the program runs
def test_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", PAGE, re.M | re.S)
    assert len(blocks) == PAGE.count("```python") == PAGE.count("```text") > 3
    names: dict[str, object] = {}
    for code, said in blocks:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(code, "docs/python.md", "exec"), names)
        assert shown.getvalue().strip() == said.strip()
