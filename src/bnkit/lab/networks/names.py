"""The networks of the studies: name → where the function that builds one is; imports no torch."""

from __future__ import annotations

from bnkit.errors import NetworkError, did_you_mean

NETWORKS = {
    "three-conv": "bnkit.lab.networks.three_conv:three_conv",
    "dense": "bnkit.lab.networks.dense:dense",
    "sigmoid": "bnkit.lab.networks.dense:sigmoid",
    "keras-dense": "bnkit.lab.networks.keras:keras_dense",
    "keras-conv": "bnkit.lab.networks.keras:keras_conv",
    "vgg": "bnkit.lab.networks.vgg:vgg",
    "resnet": "bnkit.lab.networks.resnet:resnet",
    "lstm-rows": "bnkit.lab.networks.lstm_rows:lstm_rows",
}


def unknown_network(name: str) -> NetworkError:
    """Return the error for a name that is neither a network of bnkit nor a target."""
    return NetworkError(
        f"there is no network {name!r}",
        required=f"one of {', '.join(NETWORKS)}, or file.py:attribute of your own",
        remedy=did_you_mean(name, NETWORKS),
        where="network.name",
    )
