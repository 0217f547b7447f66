"""How much memory a network takes for its views, by a count of its largest tensors, and what fits a budget."""

from dataclasses import dataclass

from geoseg_core.errors import BadInput

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """Bytes that a pixel of the network's input takes at the worst moment: in each view, and once for all of them."""

    in_view: float
    once: float = 0.0

    def views(self, memory_mib: int, pixels: int) -> int:
        """Views of so many pixels that `memory_mib` has room for."""
        return max(int((memory_mib * MIB / pixels - self.once) // self.in_view), 0)

    def pixels(self, memory_mib: int, views: int) -> int:
        """Pixels of each of so many views that `memory_mib` has room for."""
        return int(memory_mib * MIB / (views * self.in_view + self.once))


def check_views(
    views: int, cost: Cost, memory_mib: int, canvas: tuple[int, int], patch: int, smaller: tuple[str, ...]
) -> None:
    """Refuse more views than fit; with a budget of 0 there is no limit.

    Args:
        canvas: height and width of the network's input, pixels; patch: side of a patch.
        smaller: the settings that are smaller where less memory is taken.

    Raises:
        BadInput: names the number that fits.
    """
    if memory_mib and views > (fitting := cost.views(memory_mib, canvas[0] * canvas[1])):
        raise BadInput(
            f"expected at most {fitting} views of {canvas[0] // patch}x{canvas[1] // patch} patches in {memory_mib} "
            f"MiB, got {views}; give fewer views, a smaller {' or '.join(f'`{name}`' for name in smaller)}, or more "
            "`memory_mib`"
        )
