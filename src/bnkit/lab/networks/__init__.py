"""The networks of the studies, one file per family."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.lab.networks.build import build_network as build_network
    from bnkit.lab.networks.build import named_builder as named_builder
    from bnkit.lab.networks.initialization import initialize as initialize
    from bnkit.lab.networks.names import NETWORKS as NETWORKS
    from bnkit.lab.networks.settings import NetworkSettings as NetworkSettings

__getattr__, __dir__ = attach(
    __name__,
    {
        "NETWORKS": "bnkit.lab.networks.names",
        "NetworkSettings": "bnkit.lab.networks.settings",
        "build_network": "bnkit.lab.networks.build",
        "initialize": "bnkit.lab.networks.initialization",
        "named_builder": "bnkit.lab.networks.build",
    },
)
