"""The weights of MV-SAM that come with geoseg: images alone, one click, the object in the other views."""

from geoseg_core.commands.evaluate_prompts import open_method
from geoseg_core.datasets.bag_samples import RosbagSamples
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.prompts_evaluator import Group, PromptsEvaluationConfig, evaluate_prompts
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.resources import resource


def test_one_click_finds_the_thing_in_the_other_views():
    encoder = load_encoder(GeometryConfig(encoder="tiny")).encoder
    samples = RosbagSamples(str(resource("bags/tabletop")), ReaderConfig(height=0, width=0, views=3), 2)
    methods = {"mv-sam": open_method("mv-sam=tiny-mv-sam", "cpu")}
    group = Group(lambda sample: encoder.encode(images_only(sample)), methods)
    scores = evaluate_prompts([group], [samples[0]], PromptsEvaluationConfig(things=4))
    figures = scores["mv-sam"].report()
    assert figures["one_click"]["others_miou"] > 0.2 and figures["points_10_2"]["miou"] > 0.3
