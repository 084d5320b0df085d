"""The networks of the studies: name → where the function that builds one is; imports no torch."""

from __future__ import annotations

from difflib import get_close_matches

from bnkit.errors import NetworkError

NETWORKS = {
    "three-conv": "bnkit.lab.networks.three_conv:three_conv",
    "dense": "bnkit.lab.networks.dense:dense",
}


def unknown_network(name: str) -> NetworkError:
    """Return the error for a name that is neither a network of bnkit nor a target."""
    near = get_close_matches(name, NETWORKS, n=1)
    return NetworkError(
        f"there is no network {name!r}",
        required=f"one of {', '.join(NETWORKS)}, or file.py:attribute of your own",
        remedy=f"Did you mean {near[0]!r}?" if near else "",
        where="network.name",
    )
