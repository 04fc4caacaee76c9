"""K-means by faiss, which is optional."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from ...errors import MissingExtraError
from .scalar import Codes

logger = logging.getLogger(__name__)

USE_FAISS = "use_faiss"  # the setting of an index


def uses_faiss(settings: Mapping[str, Any]) -> bool:
    """Return whether the codebooks of an index of these settings are to be fitted by faiss, and it is installed."""
    if not settings.get(USE_FAISS):
        return False
    if find_spec("faiss") is None:
        logger.warning("this index was built with use_faiss=True, but faiss is not installed: fitted without it")
        return False
    return True


def require_faiss() -> None:
    """Raise `MissingExtraError` if faiss is not installed."""
    if find_spec("faiss") is None:
        raise MissingExtraError("use_faiss=True", "faiss")


def faiss_kmeans(codes: Codes, size: int, iterations: int, seed: int) -> torch.Tensor:
    """Return `size` means ``(size, dim)``, float32, of unit length, of codes ``(n, dim)`` by spherical k-means.

    On the GPUs that faiss sees, if it is a build for these.

    Raises
    ------
    MissingExtraError
        If faiss is not installed.
    """
    require_faiss()
    import faiss

    options = {"seed": seed, "gpu": faiss.get_num_gpus() > 0, "min_points_per_centroid": 1}
    kmeans = faiss.Kmeans(
        codes.shape[1], size, niter=iterations, spherical=True, max_points_per_centroid=len(codes), **options
    )
    vectors = codes.astype(np.float32)
    kmeans.train(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1))
    return torch.nn.functional.normalize(torch.from_numpy(kmeans.centroids))
