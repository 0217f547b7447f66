"""What the README shows runs as it stands there."""

import re
from pathlib import Path

from geoseg_core.datasets import rosbag

ROOT = Path(__file__).parent.parent


def test_the_lines_of_python_run_as_printed(monkeypatch):
    readme = (ROOT / "README.md").read_text()
    program = re.search(r"<!-- test/test_readme.py runs this -->\n```python\n(.*?)```", readme, re.S)
    monkeypatch.chdir(ROOT)
    first_sets = rosbag.BagSequence.__iter__

    def three_sets(sequence):
        return (labelled for labelled, _ in zip(first_sets(sequence), range(3), strict=False))

    monkeypatch.setattr(rosbag.BagSequence, "__iter__", three_sets)
    names = {}
    exec(program[1], names)
    assert [view.camera for view in names["answer"].views] == ["ego", "exo_left", "exo_right"]
    assert names["answer"].views[0].masks[0].mask[240, 320]
    assert len(names["scene"].instances.instances) >= 8


def test_files_that_it_names_exist():
    named = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert named and [name for name in named if not (ROOT / name).exists()] == []
