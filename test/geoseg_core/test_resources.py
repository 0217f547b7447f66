"""Files beside the code are found in the source tree and in the places that it is installed to."""

from pathlib import Path

import pytest

from geoseg_core import resources
from geoseg_core.errors import GeosegError

ROOT = Path(__file__).resolve().parent.parent.parent


def test_in_the_source_tree() -> None:
    assert resources.resource("config/fastdds.xml") == ROOT / "config" / "fastdds.xml"


@pytest.mark.parametrize("python", ["lib/python3.12/site-packages", "local/lib/python3.12/dist-packages"])
def test_in_an_install_space(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "install" / "share" / "geoseg_ros"
    (share / "config").mkdir(parents=True)
    (share / "package.xml").touch()
    (share / "config" / "geoseg.yaml").touch()
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "install" / python / "geoseg_core" / "resources.py"))
    assert resources.resource("config/geoseg.yaml") == share / "config" / "geoseg.yaml"


def test_what_is_nowhere_is_named_with_the_way_out() -> None:
    with pytest.raises(GeosegError, match="config/nothing.yaml.*colcon build"):
        resources.resource("config/nothing.yaml")
