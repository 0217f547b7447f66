"""The errors that geoseg raises. Each message says what was expected, what came and what to do."""


class GeosegError(Exception):
    """Base of every error that geoseg raises on purpose."""


class BadInput(GeosegError):
    """Data from outside (an image, a message, a prompt, a bag) that is refused before it is used."""


class BadConfig(GeosegError):
    """A setting outside its range or choices, or one that nobody knows."""


class TooManyRequests(GeosegError):
    """A request beyond what is answered in a second, or beyond what may wait for its answer."""


class MissingExtra(GeosegError):
    """A feature whose optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra [{extra}]: run `pip install 'geoseg[{extra}]'`")


class UnsafeCheckpoint(BadInput):
    """A checkpoint that would run code when it is read, or take more memory or time than its size explains."""


class ChecksumMismatch(BadInput):
    """A file that is not the one it should be."""


class LicenceNotAccepted(GeosegError):
    """Weights that are not fetched, since nobody agreed to their licence."""


class DownloadFailed(GeosegError):
    """A download that did not come to its end; what came is kept and continued by the next one."""


class TransformError(GeosegError):
    """A transform that the tree does not hold, or does not hold at that time."""


class UnknownObject(GeosegError):
    """An object id that no live track has."""

    def __init__(self, object_id: int, known: list[int]) -> None:
        super().__init__(
            f"expected the id of a live object (one of {known}), got {object_id}; "
            "list the live ones with list_objects"
        )


class InconsistentResult(GeosegError):
    """A result that contradicts itself: a defect of geoseg. It is not given to anybody."""


class TrainingFailed(GeosegError):
    """A training that cannot go on: its losses are no numbers any more, or a single sample does not fit the memory."""
