"""Features of frozen networks: the folder that keeps them, and what computes them.

data/<competition>/features/<network>-<8 hex>/
    features.npy     float16 or float32 [n, width], a row for each row of the store
    manifest.json    network, weights, licence, preprocessing, store, checksum

A folder whose name ends with `.part` is not complete: its features.npy grows by a batch at a time,
and the same command goes on where it ends.
"""

from pcam_kit.features.folder import (
    Features,
    Part,
    find_features,
    open_features,
    read_manifest,
)
from pcam_kit.features.network import Backbone, Embedding, choose_network

__all__ = [
    "Backbone",
    "Embedding",
    "Features",
    "Part",
    "choose_network",
    "find_features",
    "open_features",
    "read_manifest",
]
