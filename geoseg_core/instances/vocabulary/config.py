"""Settings of the open vocabulary. They stand apart, for reading them needs no torch."""

from dataclasses import dataclass

from geoseg_core.config import setting


@dataclass(frozen=True)
class VocabularyConfig:
    """How instances get classes, and how a text finds instances."""

    model: str = setting("", "CLIP or SigLIP: a folder in the layout of Hugging Face, or a model id that its cache "
                         "holds; nothing is downloaded; empty: instances have no classes")  # fmt: skip
    classes: tuple[str, ...] = setting((), "words or phrases that instances are told apart by; empty: they go without "
                                       "a class")  # fmt: skip
    rivals: tuple[str, ...] = setting(
        ("object", "things", "stuff", "texture"),
        "with CLIP, what a class or a query has to win against besides the other classes; an instance that looks more "
        "like one of these goes without a class",
    )
    template: str = setting("a photo of a {}", "what the models read: a class or query in the place of {}")
    least_score: float = setting(0.1, "an instance whose best class scores less goes without one; a text prompt finds "
                                 "nothing below it", "", 0.0, 1.0)  # fmt: skip
    instances_per_set: int = setting(1, "at most so many instances are looked at in a set", "", 1, 256)
    views: int = setting(2, "in so many views at most, those with most of its pixels", "", 1, 16)
    looks: int = setting(3, "an instance is looked at in so many sets", "", 1, 1000)
    growth: float = setting(1.5, "and once more whenever so many times the pixels are seen of it as in any look before",
                            "", 1.01, 100.0)  # fmt: skip
    least_pixels: int = setting(100, "fewer pixels of an instance are not looked at", "pixels", 1, 1_000_000)
    margin: float = setting(0.1, "what is cut out goes so far beyond the instance, as a part of its longer side", "",
                            0.0, 2.0)  # fmt: skip
    surroundings: str = setting("blurred", "what becomes of the pixels round an instance",
                                choices=("blurred", "grey", "kept"))  # fmt: skip
    precision: str = setting("fp32", "type of the numbers: fp32, or autocast: products in bf16",
                             choices=("fp32", "autocast"))  # fmt: skip
    device: str = setting("auto", "where the model runs: auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
