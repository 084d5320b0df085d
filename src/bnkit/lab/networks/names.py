"""The networks of the studies: name → where the function that builds one is; imports no torch."""

from __future__ import annotations

from bnkit.errors import NetworkError, did_you_mean

NETWORKS = {
    "three-conv": "bnkit.lab.networks.three_conv:three_conv",
    "dense": "bnkit.lab.networks.dense:dense",
}


def unknown_network(name: str) -> NetworkError:
    """Return the error for a name that is neither a network of bnkit nor a target."""
    return NetworkError(
        f"there is no network {name!r}",
        required=f"one of {', '.join(NETWORKS)}, or file.py:attribute of your own",
        remedy=did_you_mean(name, NETWORKS),
        where="network.name",
    )
