"""Where the files beside the code are: in the source tree, or in the share folder of whatever it was installed to."""

from pathlib import Path

from geoseg_core.errors import GeosegError


def resource(name: str) -> Path:
    """The path of a file or folder such as `config/geoseg.yaml` or `bags/tabletop`.

    Raises:
        GeosegError: it is neither in the source tree nor installed.
    """
    for parent in Path(__file__).resolve().parents:
        for root in (parent, parent / "share" / "geoseg_ros"):
            if (root / "package.xml").is_file() and (root / name).exists():
                return root / name
    raise GeosegError(
        f"expected {name} in the source tree or below share/geoseg_ros, found it in neither; "
        "install the package again (`make build`, or `colcon build`)"
    )
