"""The vocabulary that is configured, if one is. torch and transformers are imported only then."""

from typing import TYPE_CHECKING

from geoseg_core.errors import BadConfig, GeosegError
from geoseg_core.geometry.choice import device_named
from geoseg_core.instances.vocabulary.config import VocabularyConfig

if TYPE_CHECKING:
    from geoseg_core.instances.vocabulary.vocabulary import Vocabulary


def choose_vocabulary(config: VocabularyConfig, tasks: tuple[str, ...]) -> "Vocabulary | None":
    """What gives instances their classes; None where no model is configured.

    Raises:
        BadConfig: classes without a model, a model without the task instances, a device that is not there, or a
            template without a place for the text.
        BadInput: the model is not here, or is none that fits.
        MissingExtra: the extra [vocabulary] is not installed.
    """
    if not config.model:
        if config.classes:
            raise BadConfig(
                f"instances.vocabulary.classes: expected a model for {list(config.classes)}, got none; set "
                "instances.vocabulary.model, or leave the classes empty"
            )
        return None
    if "instances" not in tasks:
        raise BadConfig("instances.vocabulary.model: expected the task 'instances', for a model names what it finds; "
                        "add it to tasks, or leave the model empty")  # fmt: skip
    if config.template.count("{}") != 1:
        raise BadConfig(f"instances.vocabulary.template: expected one {{}}, the place of the text, got "
                        f"{config.template!r}")  # fmt: skip
    from geoseg_core.instances.vocabulary.model import load_model
    from geoseg_core.instances.vocabulary.vocabulary import Vocabulary

    device = device_named(config.device, "instances.vocabulary.device")
    return Vocabulary(config, load_model(config.model, device, config.precision))


def chosen(vocabulary: "Vocabulary | None") -> "Vocabulary":
    """The vocabulary.

    Raises:
        GeosegError: there is none; with the setting and the extra.
    """
    if vocabulary is None:
        raise GeosegError(
            "classes and texts need a vocabulary model: install the extra [vocabulary] and set "
            "instances.vocabulary.model to a CLIP or SigLIP model"
        )
    return vocabulary
