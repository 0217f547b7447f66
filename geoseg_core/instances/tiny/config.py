"""Sizes of the instance network for the small geometry network."""

from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.instances.queries.config import QueryConfig


@dataclass(frozen=True)
class TinyInstancesConfig:
    """Sizes of the trunk, the field and the queries."""

    layers: int = setting(4, "token layers of the geometry network", low=1)
    coarse: int = setting(64, "numbers of the geometry network that describe a place at 1/8 of the size", low=1)
    fused: int = setting(48, "and at 1/4", low=1)
    trunk: tuple = setting((128, 96, 64), "channels of the trunk at 1/16, 1/8 and 1/4 of the size", low=8)
    detail: int = setting(32, "channels at 1/2, by which features are drawn finer", low=8)
    field_width: int = setting(8, "numbers of the instance field that tell a place's instance from others", low=1)
    across: int = setting(2, "blocks in which the places of all views look at each other, at 1/8 of the size", low=0)
    heads: int = setting(2, "attention heads of these", low=1)
    queries: QueryConfig = field(default_factory=lambda: QueryConfig(token_layers=5))
