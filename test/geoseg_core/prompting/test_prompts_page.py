"""What docs/prompts.md shows runs as it stands there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_the_lines_of_python_run_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "prompts.md").read_text()
    programs = re.findall(r"runs this -->\n```python\n(.*?)```", page, re.S)
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec("".join(programs), names)
    cameras = ["ego", "exo_left", "exo_right"]
    assert [view.camera for view in names["scene"].masks] == cameras
    assert all(view.masks[0].object_id == names["number"] for view in names["scene"].masks)
    assert [mask.shape for mask in names["answer"].masks] == [mask.shape for mask in names["other"].masks]
    assert names["session"].answers == {}
