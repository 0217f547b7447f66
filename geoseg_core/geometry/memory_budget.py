"""How many views a network has memory for, by a count of its largest tensors."""

from geoseg_core.errors import BadInput


def views_that_fit(memory_mib: int, view_bytes: int, fixed_bytes: int) -> int:
    """Views of `view_bytes` each that `memory_mib` has room for, beside what does not grow with their number."""
    return max(int((memory_mib * 2**20 - fixed_bytes) // view_bytes), 0)


def check_views(
    views: int, fitting: int, memory_mib: int, grid: tuple[int, int], smaller: tuple[str, ...]
) -> None:
    """Refuse more views than fit; with a budget of 0 there is no limit.

    Args:
        smaller: the settings that are smaller where less memory is taken.

    Raises:
        BadInput: names the number that fits.
    """
    if memory_mib and views > fitting:
        raise BadInput(
            f"expected at most {fitting} views of {grid[0]}x{grid[1]} patches in {memory_mib} MiB, got {views}; "
            f"give fewer views, a smaller {' or '.join(f'`{name}`' for name in smaller)}, or more `memory_mib`"
        )
