"""The campaigns, by name."""

from __future__ import annotations

from bench.trust.campaign import Campaign
from bench.trust.files import Files
from bench.trust.link import Sessions
from bench.trust.netlists import Netlists
from bench.trust.programs import Programs
from bench.trust.stores import Stores

__all__ = ["CAMPAIGNS"]

_ALL: tuple[type[Campaign], ...] = (Programs, Sessions, Files, Stores, Netlists)
CAMPAIGNS: dict[str, type[Campaign]] = {campaign.name: campaign for campaign in _ALL}
