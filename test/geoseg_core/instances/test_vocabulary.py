"""Classes of instances by text, with a small CLIP and a small SigLIP; scores are worked out with the models' own
features."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_vocabulary import SIDE, small_vocabulary_folder
from transformers import AutoModel, AutoProcessor

from geoseg_core.config import build
from geoseg_core.errors import BadConfig, BadInput, MissingExtra
from geoseg_core.instances.vocabulary.choice import choose_vocabulary
from geoseg_core.instances.vocabulary.config import VocabularyConfig
from geoseg_core.instances.vocabulary.vocabulary import Vocabulary
from geoseg_core.results import EventKind, InstanceResult, LabelledCloud, ObjectEvent, OrientedBox, ScaleState
from geoseg_core.results import Instance as Found
from geoseg_core.views import FrameSet, View

KINDS = ("clip", "siglip")
CLASSES = ("mug", "screwdriver", "box 3")
# One look at all, and what is outside the mask without any effect.
PLAIN = {"surroundings": "grey", "margin": 0.0, "looks": 1, "least_pixels": 1, "least_score": 0.0, "rivals": ()}
PLAIN |= {"instances_per_set": 256}
TASKS = ("instances",)
EMPTY = LabelledCloud(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    return {kind: small_vocabulary_folder(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def made(folder: Path, **words: object) -> Vocabulary:
    config = build(VocabularyConfig, {"model": str(folder), "classes": CLASSES, "device": "cpu"} | PLAIN | words)
    vocabulary = choose_vocabulary(config, TASKS)
    assert vocabulary is not None
    return vocabulary


def noise(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def squares(*places: tuple[int, int, int, int]) -> np.ndarray:
    """A label image with a square for each (id, row, column, edge)."""
    labels = np.zeros((48, 64), np.uint16)
    for number, row, column, edge in places:
        labels[row : row + edge, column : column + edge] = number
    return labels


def frames_of(*images: np.ndarray) -> FrameSet:
    return FrameSet(tuple(View(f"camera{index}", image) for index, image in enumerate(images)))


def found_of(*labels: np.ndarray, live: tuple[int, ...] = ()) -> InstanceResult:
    """The readout of a set with these label images; `live` are ids besides those that are seen."""
    box = OrientedBox(np.zeros(3), np.eye(3), np.ones(3))
    ids = sorted({int(number) for image in labels for number in np.unique(image) if number} | set(live))
    instances = tuple(Found(number, np.zeros(3), np.eye(3), box, 0, 1.0, 0, 0, ()) for number in ids)
    return InstanceResult(labels, instances, EMPTY, ScaleState())


def names(result: InstanceResult) -> dict[int, tuple[str, float]]:
    return {each.instance_id: (each.class_name, each.class_score) for each in result.instances}


class Own:
    """The features that a model itself gives."""

    def __init__(self, folder: Path) -> None:
        self.model, self.processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)

    def image(self, crop: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            given = self.processor(images=[crop], return_tensors="pt")
            return torch.nn.functional.normalize(self.model.get_image_features(**given).pooler_output, dim=-1)[0]

    def texts(self, *texts: str) -> torch.Tensor:
        with torch.no_grad():
            given = self.processor(text=list(texts), padding="max_length", max_length=48, return_tensors="pt")
            return torch.nn.functional.normalize(self.model.get_text_features(**given).pooler_output, dim=-1)


def by_hand(own: Own, image: torch.Tensor, *texts: str) -> np.ndarray:
    logits = own.texts(*texts).double() @ image.double() * np.exp(3.0)
    if hasattr(own.model, "logit_bias"):
        return 1 / (1 + np.exp(2.0 - logits.numpy()))
    return np.exp(logits.numpy()) / np.exp(logits.numpy()).sum()


def test_scores_are_those_of_the_models_own_features(folder: Path) -> None:
    vocabulary, own = made(folder), Own(folder)
    image, labels = noise(1), squares((3, 4, 6, SIDE))
    result = vocabulary.classified(frames_of(image), found_of(labels))
    expected = by_hand(own, own.image(image[4 : 4 + SIDE, 6 : 6 + SIDE]), *(f"a photo of a {each}" for each in CLASSES))
    name, score = names(result)[3]
    assert name == CLASSES[int(expected.argmax())] and score == pytest.approx(expected.max(), abs=1e-5)
    if own.model.config.model_type == "clip":
        assert expected.sum() == pytest.approx(1)
    one = by_hand(own, own.image(image[4 : 4 + SIDE, 6 : 6 + SIDE]), "a photo of a mug")
    assert vocabulary.query("mug") == ((3, pytest.approx(float(one[0]), abs=1e-5)),)


def test_rivals_have_their_share_of_clips_scores_and_none_of_siglips(folders: dict[str, Path]) -> None:
    image, labels = noise(1), squares((3, 4, 6, SIDE))
    for kind, folder in folders.items():
        vocabulary, own = made(folder, rivals=("thing", "mug")), Own(folder)
        vocabulary.classified(frames_of(image), found_of(labels))
        crop = own.image(image[4 : 4 + SIDE, 6 : 6 + SIDE])
        texts = ("a photo of a mug", "a photo of a thing") if kind == "clip" else ("a photo of a mug",)
        assert vocabulary.query("mug")[0][1] == pytest.approx(float(by_hand(own, crop, *texts)[0]), abs=1e-5)


def test_an_instance_that_looks_more_like_a_rival_goes_without_a_class(folders: dict[str, Path]) -> None:
    image, labels = noise(1), squares((3, 4, 6, SIDE))
    best, _ = names(made(folders["clip"]).classified(frames_of(image), found_of(labels)))[3]
    others = tuple(each for each in CLASSES if each != best)
    vocabulary = made(folders["clip"], classes=others, rivals=(best,))
    assert names(vocabulary.classified(frames_of(image), found_of(labels)))[3] == ("", 0.0)


def test_the_template_is_what_the_model_reads(folder: Path) -> None:
    image, labels = noise(1), squares((3, 4, 6, SIDE))
    vocabulary, own = made(folder, template="here is {} on a table", rivals=("thing",)), Own(folder)
    vocabulary.classified(frames_of(image), found_of(labels))
    texts = ("here is mug on a table", "here is thing on a table")
    expected = by_hand(own, own.image(image[4 : 4 + SIDE, 6 : 6 + SIDE]), *texts)
    assert vocabulary.query("mug")[0][1] == pytest.approx(float(expected[0]), abs=1e-5)


def test_the_same_pixels_give_the_same_embedding_wherever_they_are(folder: Path) -> None:
    image, thing = noise(1), noise(2, 20, 20)
    image[2:22, 3:23] = image[25:45, 40:60] = thing
    other = noise(3)
    other[28:48, 0:20] = thing
    vocabulary = made(folder)
    labels = squares((1, 2, 3, 20), (2, 25, 40, 20), (4, 0, 25, 12)), squares((3, 28, 0, 20))
    vocabulary.classified(frames_of(image, other), found_of(*labels))
    seen = vocabulary.embeddings()
    np.testing.assert_allclose(seen[1], seen[2], atol=1e-6)
    np.testing.assert_allclose(seen[1], seen[3], atol=1e-6)
    assert seen[1] @ seen[4] < 0.9999 and np.linalg.norm(seen[4]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("surroundings", ("grey", "kept"))
def test_what_is_outside_the_mask_matters_only_where_it_is_kept(folder: Path, surroundings: str) -> None:
    labels = squares((1, 10, 10, 20))
    labels[10:20, 10:20] = 0
    seen = []
    for seed in (5, 6):
        vocabulary = made(folder, surroundings=surroundings, margin=0.2)
        image = np.where((labels == 1)[..., None], noise(1), noise(seed))
        vocabulary.classified(frames_of(image), found_of(labels))
        seen.append(vocabulary.embeddings()[1])
    assert np.allclose(*seen, atol=1e-6) == (surroundings == "grey")


def test_views_and_sets_are_averaged_by_the_pixels_they_show(folder: Path) -> None:
    vocabulary, own = made(folder, looks=2, views=2), Own(folder)
    images, edges = [noise(seed) for seed in (1, 2, 3, 4)], (32, 16, 8, 24)
    labels = [squares((1, 0, 0, edge)) for edge in edges]
    vocabulary.classified(frames_of(*images[:3]), found_of(*labels[:3]))  # the third shows least and is left out
    vocabulary.classified(frames_of(images[3]), found_of(labels[3]))
    expected = torch.zeros(vocabulary.model.width)
    for image, edge in ((images[0], 32), (images[1], 16), (images[3], 24)):
        with_cv2 = vocabulary.model.embed_images([resized(image[:edge, :edge])])[0]
        torch.testing.assert_close(with_cv2, own.image(resized(image[:edge, :edge])), atol=1e-5, rtol=0)
        expected += edge**2 * with_cv2
    expected = torch.nn.functional.normalize(expected, dim=0)
    np.testing.assert_allclose(vocabulary.embeddings()[1], expected.numpy(), atol=1e-5)


def resized(crop: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


class Counted:
    """Counts the pictures that a vocabulary's model is shown."""

    def __init__(self, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown, self.read, self.model = 0, 0, vocabulary.model
        images, texts = self.model.embed_images, self.model.embed_texts

        def embed_images(pictures: list[np.ndarray]) -> torch.Tensor:
            self.shown += len(pictures)
            return images(pictures)

        def embed_texts(words: list[str]) -> torch.Tensor:
            self.read += len(words)
            return texts(words)

        monkeypatch.setattr(self.model, "embed_images", embed_images)
        monkeypatch.setattr(self.model, "embed_texts", embed_texts)

    def of(self, act: object) -> int:
        before = self.shown
        act()
        return self.shown - before


def test_work_in_a_set_is_bounded_and_classes_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = made(folder, instances_per_set=2)
    counted = Counted(vocabulary, monkeypatch)
    image, labels = noise(1), squares(*((number, 0, 12 * number - 12, 8 + number % 3) for number in range(1, 6)))
    results = []
    shown = [
        counted.of(lambda: results.append(vocabulary.classified(frames_of(image), found_of(labels)))) for _ in range(4)
    ]
    assert shown == [2, 2, 1, 0] and counted.read == 0
    assert [sum(name != "" for name, _ in names(each).values()) for each in results] == [2, 4, 5, 5]
    for earlier, later in zip(results[:-1], results[1:], strict=True):
        assert all(names(later)[number] == word for number, word in names(earlier).items() if word[0])
    assert names(results[0])[2][0] and names(results[0])[5][0], "those that show most come first"


def test_an_instance_is_looked_at_some_times_and_again_when_it_grew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = made(folder, looks=2, growth=1.5)
    counted = Counted(vocabulary, monkeypatch)
    image = noise(1)

    def shown(edge: int) -> int:
        return counted.of(lambda: vocabulary.classified(frames_of(image), found_of(squares((1, 0, 0, edge)))))

    assert [shown(edge) for edge in (10, 10, 10, 12, 13, 13, 10, 20)] == [1, 1, 0, 0, 1, 0, 0, 1]


def test_too_little_is_not_looked_at_and_hidden_instances_keep_their_class(folder: Path) -> None:
    vocabulary = made(folder, least_pixels=50)
    image = noise(1)
    small = vocabulary.classified(frames_of(image), found_of(squares((1, 0, 0, 7))))
    assert names(small)[1] == ("", 0.0) and vocabulary.query("mug") == ()
    seen = vocabulary.classified(frames_of(image), found_of(squares((1, 0, 0, 8))))
    hidden = vocabulary.classified(frames_of(image), found_of(squares(), live=(1,)))
    assert names(hidden) == names(seen) and names(seen)[1][0] in CLASSES
    vocabulary.classified(frames_of(image), found_of(squares()))
    assert vocabulary.query("mug") == (), "one that does not live any more is no answer"


@pytest.mark.parametrize("kind", (EventKind.MERGED, EventKind.SPLIT, EventKind.LOST))
def test_what_was_merged_or_split_is_looked_at_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: EventKind
) -> None:
    vocabulary, fresh = made(folder), made(folder)
    counted = Counted(vocabulary, monkeypatch)
    labels = squares((1, 0, 0, 20), (2, 0, 30, 20), (3, 30, 0, 15))
    vocabulary.classified(frames_of(noise(1)), found_of(labels))
    event = ObjectEvent(kind, 1, 0, "for the test", (2,))
    shown = counted.of(lambda: vocabulary.classified(frames_of(noise(2)), found_of(labels), (event,)))
    assert shown == (0 if kind is EventKind.LOST else 2)
    fresh.classified(frames_of(noise(2)), found_of(labels))
    same = np.allclose(vocabulary.embeddings()[2], fresh.embeddings()[2], atol=1e-6)
    assert same == (kind is not EventKind.LOST)


def test_classes_can_be_set_and_taken_away_at_any_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = made(folder, classes=())
    frames, found = frames_of(noise(1)), found_of(squares((1, 0, 0, 20)))
    assert names(vocabulary.classified(frames, found))[1] == ("", 0.0)
    counted = Counted(vocabulary, monkeypatch)
    vocabulary.set_classes([" lamp ", "cable"])
    assert vocabulary.classes == ("lamp", "cable") and counted.read == 2
    assert counted.of(lambda: vocabulary.classified(frames, found)) == 0, "what it looks like is known already"
    assert names(vocabulary.classified(frames, found))[1][0] in ("lamp", "cable") and counted.read == 2
    vocabulary.set_classes([])
    assert names(vocabulary.classified(frames, found))[1] == ("", 0.0)


def test_below_the_least_score_there_is_no_class(folder: Path) -> None:
    frames, found = frames_of(noise(1)), found_of(squares((1, 0, 0, 20)))
    name, score = names(made(folder).classified(frames, found))[1]
    assert names(made(folder, least_score=score - 1e-4).classified(frames, found))[1][0] == name
    assert names(made(folder, least_score=score + 1e-4).classified(frames, found))[1] == ("", 0.0)


def test_a_query_lists_instances_best_first(folder: Path) -> None:
    vocabulary = made(folder, rivals=("thing",))
    labels = squares(*((number, 10, 12 * number - 12, 11) for number in range(1, 6)))
    vocabulary.classified(frames_of(noise(1)), found_of(labels))
    ranked = vocabulary.query("mug")
    scores = [score for _, score in ranked]
    assert sorted(number for number, _ in ranked) == [1, 2, 3, 4, 5]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]


def test_bad_classes_are_refused_and_the_old_ones_stay(folder: Path) -> None:
    vocabulary = made(folder)
    for bad, words in ((["mug", " "], "1 to 300"), (["mug", "mug "], "twice"), (["a" * 301], "1 to 300"),
                       ([str(number) for number in range(1001)], "at most 1000")):  # fmt: skip
        with pytest.raises(BadInput, match=words):
            vocabulary.set_classes(bad)
    with pytest.raises(BadInput, match="1 to 300"):
        vocabulary.query("  ")
    assert vocabulary.classes == CLASSES


def test_a_text_longer_than_the_model_reads_is_cut_off(folder: Path) -> None:
    model = made(folder).model
    embedded = model.embed_texts(["mug " * 70, "mug " * 71])
    assert embedded.isfinite().all() and torch.equal(embedded[0], embedded[1])


def test_capitals_make_no_difference(folder: Path) -> None:
    small, capital, other = made(folder).model.embed_texts(["a mug", "A Mug", "a mop"])
    assert torch.equal(small, capital) and not torch.equal(small, other)


def test_bf16_products_change_little(folder: Path) -> None:
    pictures = [noise(1, SIDE, SIDE), noise(2, SIDE, SIDE)]
    exact = made(folder).model.embed_images(pictures)
    rounded = made(folder, precision="autocast").model.embed_images(pictures)
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    assert ((exact * rounded).sum(1) > 0.999).all()


def test_those_who_ask_for_the_same_model_at_a_time_share_it(folder: Path) -> None:
    first, second = made(folder), made(folder, classes=("cup",))
    assert first.model is second.model and first.model is not made(folder, precision="autocast").model


# What is refused


def test_without_the_extra_the_error_names_it(folder: Path) -> None:
    script = (
        "import sys; sys.modules['transformers'] = None\n"
        "from geoseg_core.config import build\n"
        "from geoseg_core.pipeline import PipelineConfig, ScenePipeline\n"
        "from geoseg_core.errors import MissingExtra\n"
        "ScenePipeline()\n"
        "try:\n"
        f"    ScenePipeline(build(PipelineConfig, {{'instances.vocabulary.model': {str(folder)!r}}}))\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "pip install 'geoseg[vocabulary]'" in ended.stdout and "instances.vocabulary.model" in ended.stdout


def test_a_tokenizer_that_needs_more_packages_names_the_extra(folders: dict[str, Path], tmp_path: Path) -> None:
    try:
        import sentencepiece  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("sentencepiece is installed")
    folder = copied(folders["siglip"], tmp_path)
    change(folder / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    with pytest.raises(MissingExtra, match="vocabulary"):
        made(folder)


def copied(folder: Path, target: Path) -> Path:
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def change(path: Path, **words: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | words))


@pytest.mark.parametrize("what", ("nothing", "folder", "kind", "tokenizer", "weights", "torn", "tensor"))
def test_what_is_no_whole_model_is_refused(folder: Path, tmp_path: Path, what: str) -> None:
    copied(folder, tmp_path)
    weights = tmp_path / "model.safetensors"
    name, words = str(tmp_path), "expected a CLIP or SigLIP model"
    if what == "nothing":
        name = "nobody/has-this"
    elif what == "folder":
        name = str(tmp_path.parent)
    elif what == "kind":
        change(tmp_path / "config.json", model_type="bert")
    elif what == "tokenizer":
        for path in (*tmp_path.glob("tokenizer*"), tmp_path / "processor_config.json"):
            path.unlink()
    elif what == "weights":
        weights.unlink()
    elif what == "torn":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        tensors = load_file(weights)
        tensors.pop("logit_scale")
        save_file(tensors, weights, {"format": "pt"})
        words = "logit_scale"
    with pytest.raises(BadInput, match=words):
        made(name)


def test_settings_that_contradict_each_other_are_refused(folder: Path) -> None:
    assert choose_vocabulary(VocabularyConfig(), ()) is None
    with pytest.raises(BadConfig, match="instances.vocabulary.model"):
        choose_vocabulary(VocabularyConfig(classes=("mug",)), TASKS)
    given = VocabularyConfig(model=str(folder), device="cpu")
    with pytest.raises(BadConfig, match="add it to tasks"):
        choose_vocabulary(given, ("cross_view",))
    for template in ("a photo", "{} and {}"):
        with pytest.raises(BadConfig, match="template"):
            choose_vocabulary(replace(given, template=template), TASKS)
    with pytest.raises(BadConfig, match="vocabulary.device"):
        choose_vocabulary(replace(given, device="cuda:99"), TASKS)


def test_features_of_older_transformers_are_plain_tensors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(folder).model
    new = model.embed_texts(["mug"])
    get = model.model.get_text_features
    monkeypatch.setattr(model, "model", SimpleNamespace(
        get_text_features=lambda **given: get(**given).pooler_output, device=model.model.device,
    ))  # fmt: skip
    assert torch.equal(model.embed_texts(["mug"]), new)
