"""The published checkpoints that geoseg can use. Nothing here is guessed: what is not known for certain is None."""

from dataclasses import dataclass

from geoseg_core.errors import BadInput


@dataclass(frozen=True)
class Checkpoint:
    """One published file.

    Attributes:
        repository: on huggingface.co.
        revision: commit there (or the beginning of one); None takes the newest.
        licence: in one line; it is shown before a download and where the weights are used.
        serves: what it does in geoseg.
        gated: the repository gives the file only to accounts that accepted its terms.
    """

    name: str
    repository: str
    revision: str | None
    file: str
    licence: str
    serves: str
    size_bytes: int | None = None
    sha256: str | None = None
    gated: bool = False


CHECKPOINTS = (
    Checkpoint(
        name="vggt-1b",
        repository="facebook/VGGT-1B",
        revision="860abec7937da0a4c03c41d3c269c366e82abdf9",
        file="model.safetensors",
        licence="CC BY-NC 4.0: non-commercial use only",
        serves="geometry: cameras, depth, points and tracks (VGGT); features for vggt-s",
        size_bytes=5_026_367_224,
        sha256="f164acf60724910d8fe1578bb499d800850c7bb0948db7555c413f9fbe60467e",
    ),
    Checkpoint(
        name="vggt-1b-commercial",
        repository="facebook/VGGT-1B-Commercial",
        revision="ebb29a532abe92960eeb6903a5530f16990ef4ab",
        file="model.safetensors",
        licence="VGGT License v1: commercial use allowed, military use excluded (acceptable use policy)",
        serves="geometry: the same network as vggt-1b, trained for commercial use",
        size_bytes=5_026_367_224,
        sha256="2b766b284359bc47ce26be107254621f685b758a0282082ff109f3ff02788b53",
        gated=True,
    ),
    Checkpoint(
        name="pi3",
        repository="yyfz233/Pi3",
        revision="ae722e7039287d0c8fde9f11f197f804f44b510c",
        file="model.safetensors",
        licence="CC BY-NC 4.0: non-commercial use only",
        serves="geometry: cameras and points without a reference view (Pi3)",
        size_bytes=3_834_909_248,
        sha256="33580e4702ac671558aedeab1148fd08118f7ce45bdbeb99f3e3cf340062875d",
    ),
    Checkpoint(
        name="pi3x",
        repository="yyfz233/Pi3X",
        revision="bb1deea4d7423de5b30691739cb451a3f57dc1d5",
        file="model.safetensors",
        licence="CC BY-NC 4.0: non-commercial use only",
        serves="geometry: Pi3 with metric scale; takes known poses, intrinsics and depth",
        size_bytes=5_440_325_620,
        sha256="69972d6e1c4492cb4d737a84fe940e357087d81c52f5c9b7c160b49c1f41669a",
    ),
    Checkpoint(
        name="iggt",
        repository="lifuguan/IGGT_official",
        revision="12aa6fa",
        file="iggt_checkpoint.pth",
        licence="MIT in its repository, but fine-tuned from VGGT-1B (CC BY-NC 4.0): take it as non-commercial",
        serves="instances: VGGT with features that tell instances apart (IGGT)",
        size_bytes=5_198_776_140,
        sha256="2e165f7d18b64de1a6e18ce0022f2ada034faaaae007cd3e9a4a15eccf4644d2",
    ),
    Checkpoint(
        name="vggt-s",
        repository="zbbhhh/VGGT-S",
        revision=None,
        file="main_exp.pth",
        licence="Apache-2.0 in its repository; it works on features of VGGT-1B (CC BY-NC 4.0)",
        serves="cross-view masks: the segmentation head of VGGT-Segmentor",
    ),
    Checkpoint(
        name="sam2.1-hiera-large",
        repository="facebook/sam2.1-hiera-large",
        revision="665f8e2ad61cf5f53d65644ff27c8ee525124610",
        file="sam2.1_hiera_large.pt",
        licence="Apache-2.0",
        serves="masks from points and boxes in one view (SAM 2.1)",
        size_bytes=898_083_611,
        sha256="2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
)


def checkpoint_named(name: str) -> Checkpoint:
    """The checkpoint of that name or repository, in upper or lower case.

    Raises:
        BadInput: there is none.
    """
    for checkpoint in CHECKPOINTS:
        if name.lower() in (checkpoint.name, checkpoint.repository.lower()):
            return checkpoint
    names = ", ".join(checkpoint.name for checkpoint in CHECKPOINTS)
    raise BadInput(f"expected one of {names}, got {name!r}; `geoseg weights list` shows them")


def markdown_table() -> str:
    """The registry as it stands in docs/weights.md."""
    lines = ["| name | file on huggingface.co | size | sha256 | licence | serves |", "|---|---|---|---|---|---|"]
    for checkpoint in CHECKPOINTS:
        source = f"`{checkpoint.repository}` `{checkpoint.file}` at `{(checkpoint.revision or 'main')[:12]}`"
        digest = f"`{checkpoint.sha256[:16]}…`" if checkpoint.sha256 else "not known"
        licence = checkpoint.licence + ("; gated" if checkpoint.gated else "")
        cells = [f"`{checkpoint.name}`", source, size_words(checkpoint.size_bytes), digest, licence, checkpoint.serves]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def size_words(size_bytes: int | None) -> str:
    """A size as people read it, in decimal gigabytes or smaller."""
    if size_bytes is None:
        return "not known"
    for unit, factor in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.2f} {unit}"
    return f"{size_bytes} B"
