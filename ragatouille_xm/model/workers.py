"""Copies of a model in other processes, on this machine or a Ray cluster's: data parallelism beyond one process."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socket import create_connection
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import CheckpointError, InputError, RagatouilleXMError, WorkerError
from ..extras import import_extra
from .checkpoint import load_checkpoint
from .colbert import ColBERT
from .devices import chosen_device, default_dtype

logger = logging.getLogger(__name__)

TIMEOUT_S = 10  # to reach a cluster
IN_FLIGHT = 2  # batches of a worker: one is encoded while another is on its way


class Load(NamedTuple):
    """What a worker loads.

    Attributes
    ----------
    checkpoint : str
        Its name, by which each machine finds it.
    fingerprint : str
        Of the checkpoint of that name here.
    dtype : torch.dtype or None
        None is what suits the worker's device.
    quantize : str or None
    """

    checkpoint: str
    fingerprint: str
    dtype: torch.dtype | None
    quantize: str | None


class Worker:
    """A model in a process of its own, on its GPU if it was given one. It is loaded when it is first needed."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._model: ColBERT | None = None

    def device(self) -> str:
        """Load the model; return the type of its device."""
        return self._loaded().device.type

    def encode(self, input_ids: Tensor, attention_mask: Tensor, adapters: Sequence[str]) -> Tensor:
        """Encode a batch, as `ColBERT` does; the vectors are on the CPU."""
        return self._loaded()(input_ids, attention_mask, adapters).cpu()

    def _loaded(self) -> ColBERT:
        if self._model is None:
            name, fingerprint, dtype, quantize = self._load
            checkpoint = load_checkpoint(name)
            if checkpoint.fingerprint != fingerprint:
                raise CheckpointError(
                    f"{name!r} is another checkpoint on a worker than here: their weights differ. Give each machine "
                    "the same one."
                )
            device = chosen_device(None)
            self._model = ColBERT.load(checkpoint, device, dtype or default_dtype(device))
            self._model.pack(quantize)
        return self._model


class RemoteModel:
    """A worker, called as a model of this process is. If its process dies, Ray starts it again and repeats the call.

    Parameters
    ----------
    actor : ray.actor.ActorHandle
        Of a `Worker`.
    computes_on : torch.device
        Of its machine.
    """

    device = torch.device("cpu")  # where its vectors are

    def __init__(self, actor: Any, computes_on: torch.device) -> None:
        self._actor = actor
        self.computes_on = computes_on

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, adapters: Sequence[str]) -> Tensor:
        """Encode a batch, as `ColBERT` does; the vectors are on the CPU."""
        return _get(self._actor.encode.remote(input_ids, attention_mask, list(adapters)))  # type: ignore[no-any-return]


@contextmanager
def start_workers(where: int | str, load: Load) -> Iterator[list[RemoteModel]]:
    """Start workers, which end with the context.

    Parameters
    ----------
    where : int or str
        So many on this machine, or the address of a Ray cluster: ``"ray://host:10001"``, or ``"auto"`` on one of its
        machines. There, each GPU gets one; without GPUs, each machine does.
    load : Load

    Raises
    ------
    InputError
        If `where` is neither.
    MissingExtraError
        If Ray is not installed.
    WorkerError
        If the cluster cannot be reached, or workers fail.
    CheckpointError
        If they do not have the checkpoint.
    """
    check_workers(where)
    ray = import_extra("ray", "workers=", "ray")
    joined = ray.is_initialized() and (where == "auto" or isinstance(where, int))  # the user's session, which goes on
    if not joined:
        _connect(ray, where)
    actors: list[Any] = []
    try:
        remote = ray.remote(max_restarts=-1, max_task_retries=-1)(Worker)
        actors = [remote.options(**needs).remote(load) for needs in _places(ray, where)]
        kinds = _get([actor.device.remote() for actor in actors])
        logger.info("%d workers encode, on %s", len(actors), ", ".join(sorted(set(kinds))))
        workers = [RemoteModel(actor, torch.device(kind)) for actor, kind in zip(actors, kinds, strict=True)]
        yield [worker for worker in workers for _ in range(IN_FLIGHT)]
    finally:
        for actor in actors:
            ray.kill(actor)
        if not joined:
            ray.shutdown()


def check_workers(where: int | str) -> None:
    """Raise `InputError` unless it is a number of workers or an address."""
    if isinstance(where, bool) or not isinstance(where, (int, str)) or (isinstance(where, int) and where < 1):
        raise InputError(
            f'workers={where!r} is neither a number from 1 on nor an address. Give 4, or "ray://host:10001".'
        )
    if isinstance(where, str) and where != "auto" and not _address(where):
        raise InputError(f'workers={where!r} is no address of a Ray cluster. Give "ray://host:10001", or "auto".')


def _address(where: str) -> tuple[str, int] | None:
    """Return host and port of a Ray cluster's address."""
    found = re.fullmatch(r"ray://\[?([^\[\]/@]+?)\]?:(\d{1,5})/?", where)
    return (found[1], int(found[2])) if found else None


def _connect(ray: Any, where: int | str) -> None:
    quiet = {"log_to_driver": False, "configure_logging": False}
    try:
        if isinstance(where, str):
            if address := _address(where):
                create_connection(address, TIMEOUT_S).close()  # Ray itself tries for minutes
            ray.init(where, **quiet)
        else:
            ray.init(num_cpus=max(where, os.cpu_count() or 1), include_dashboard=False, **quiet)
    except Exception as error:  # Ray's client raises what its transport raises
        place = f"the Ray cluster at {where!r}" if isinstance(where, str) else "Ray on this machine"
        raise WorkerError(f"Cannot start {place}: {_first_line(error)} Nothing was encoded.") from error


def _places(ray: Any, where: int | str) -> list[dict[str, float]]:
    """Return what each worker needs."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if isinstance(where, int):
        cores = int(sum(node.get("CPU", 0) for node in nodes))
        return [{"num_cpus": max(cores // where, 1)} | ({"num_gpus": min(1.0, gpus / where)} if gpus else {})] * where
    if gpus:
        return [{"num_gpus": 1}] * gpus
    return [{"num_cpus": int(node["CPU"])} for node in nodes if node.get("CPU", 0) >= 1]


def _get(answers: Any) -> Any:
    """Wait for what workers answer; raise what they raised, or what Ray says, as an error of our own."""
    import ray

    try:
        return ray.get(answers)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, RagatouilleXMError):
            raise cause from None
        raise WorkerError(f"A worker failed: {_first_line(cause)} See Ray's logs of it for more.") from error
    except ray.exceptions.RayError as error:
        raise WorkerError(f"A worker was lost: {_first_line(error)}") from error


def _first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."
