"""One language's encoder as an ONNX file, compared with ours as soon as it is written."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..encoder import Encoder
from ..errors import CheckpointError
from ..extras import import_extra
from ..model.adapters import Adapter
from ..model.colbert import ColBERT
from ..model.xmod import XmodEncoder
from ..text.tokenizer import TokenBatch
from ..training.saving import new_folder, write_json
from .checkpoint import empty_folder, one_adapter
from .frame import frame_of

MODEL, TOKENIZER, TOKENS = "model.onnx", "tokenizer.json", "tokens.json"
TOLERANCE = 1e-4
ONE_FILE = 2**31 - 2**24  # bytes of weights: protobuf ends at 2 GiB
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_QUERIES = ["a", "Où est la bibliothèque ?"]
_PASSAGES = ["The library opens at nine.", "图书馆早上九点开门。", "one two three, four five six. " * 9]


class OneLanguage(nn.Module):
    """A ColBERT whose texts all go through one adapter.

    Parameters
    ----------
    model : ColBERT
        Not packed.
    adapter : str or None
        None for a backbone without adapters.
    """

    def __init__(self, model: ColBERT, adapter: str | None) -> None:
        super().__init__()
        self.model = model
        self.backbone: Any = model.backbone
        self.segments: list[tuple[tuple[Adapter, ...], int, None]] = []
        if isinstance(model.backbone, XmodEncoder) and adapter is not None:
            self.segments = [(model.backbone.bank[adapter], 0, None)]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map ids and mask ``(b, L)`` to token vectors ``(b, L, dim)``."""
        if self.segments:
            return self.model.project(self.backbone.encode(input_ids, attention_mask, self.segments))
        return self.model.project(self.backbone(input_ids, attention_mask, []))


def write_onnx(encoder: Encoder, path: str | Path, language: str | None = None) -> float:
    """Write a folder with an encoder for one language, its tokeniser, and what is put around texts.

    ``model.onnx`` takes ``input_ids`` and ``attention_mask``, int64 of shape ``(batch, length)``, and gives
    ``vectors``, float32 of shape ``(batch, length, dim)``. ``tokens.json`` has the ids to put before and after those of
    a text.

    Parameters
    ----------
    encoder : Encoder
    path : str or Path
        Folder to make; an empty one may be there.
    language : str, optional
        By default that of the checkpoint's default adapter.

    Returns
    -------
    float
        The largest difference between a number of onnxruntime's vectors and of ours.

    Raises
    ------
    InputError
        If the folder has something in it, or the checkpoint has no adapters and `language` is given.
    LanguageError
        If `language` is not a language.
    CheckpointError
        If the backbone cannot be exported, or its vectors differ; no folder is made then.
    MissingExtraError
        If a package of the extra ``onnx`` is not installed.
    """
    folder = empty_folder(path)
    adapter = one_adapter(encoder, language)
    for package in _PACKAGES:
        import_extra(package, "Writing an ONNX file", "onnx")
    backend, _ = frame_of(encoder.tokenizer)
    model = ColBERT.load(encoder.checkpoint, torch.device("cpu"), torch.float32)
    batches = _samples(encoder)
    with new_folder(folder) as temporary:
        _export(OneLanguage(model, adapter).eval(), batches[0], temporary / MODEL, encoder.checkpoint.name)
        difference = _largest_difference(model, adapter, batches, temporary / MODEL)
        if not difference <= TOLERANCE:
            raise CheckpointError(
                f"The exported encoder of {encoder.checkpoint.name!r} makes vectors that differ from ours by "
                f"{difference:.1e}, more than {TOLERANCE:.0e}: nothing is written. Use another version of torch."
            )
        backend.save(str(temporary / TOKENIZER))
        write_json(temporary / TOKENS, _tokens(encoder, adapter))
    return difference


def _samples(encoder: Encoder) -> list[TokenBatch]:
    """Return batches of several widths: filled queries, padded passages, a single one."""
    tokenizer = encoder.tokenizer
    passages = tokenizer.documents(_PASSAGES, tokenizer.max_tokens)
    return [tokenizer.pad(each) for each in (passages[:2], tokenizer.queries(_QUERIES), passages, passages[:1])]


def _export(module: OneLanguage, sample: TokenBatch, file: Path, name: str) -> None:
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=module.backbone.max_tokens)}
    whole = sum(each.nbytes for each in (*module.parameters(), *module.buffers()))
    log = logging.getLogger("torch.onnx")  # it tells which packages it does without
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of torch and transformers, about themselves
            torch.onnx.export(
                module,
                (sample.input_ids, sample.attention_mask),
                file,
                input_names=["input_ids", "attention_mask"],
                output_names=["vectors"],
                dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
                dynamo=True,
                external_data=whole > ONE_FILE,
                verbose=False,
            )
    except Exception as error:  # each part of the exporter raises its own
        raise CheckpointError(
            f"The backbone of {name!r} cannot be written as ONNX by this version of torch "
            f"({type(error).__name__}: {str(error)[:200]})."
        ) from error
    finally:
        log.setLevel(level)


def _largest_difference(model: ColBERT, adapter: str | None, batches: list[TokenBatch], file: Path) -> float:
    runtime: Any = import_extra("onnxruntime", "Writing an ONNX file", "onnx")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in batches:
        given = {"input_ids": batch.input_ids.numpy(), "attention_mask": batch.attention_mask.numpy()}
        [found] = session.run(["vectors"], given)
        adapters = [] if adapter is None else [adapter] * len(batch.input_ids)
        ours = model(batch.input_ids, batch.attention_mask, adapters)
        largest = max(largest, float((torch.from_numpy(found) - ours)[batch.scoring_mask].abs().max()))
    return largest


def _tokens(encoder: Encoder, adapter: str | None) -> dict[str, Any]:
    """Return what ``tokens.json`` holds."""
    _, frame = frame_of(encoder.tokenizer)
    settings, vocabulary = encoder.checkpoint.settings, encoder.tokenizer.vocabulary
    return {
        "checkpoint": encoder.checkpoint.name,
        "adapter": adapter,
        "dim": encoder.dim,
        "most_tokens": encoder.tokenizer.max_tokens,
        "pad": vocabulary.pad,
        "query": {
            "before": frame.query,
            "after": frame.after,
            "fill": vocabulary.mask,
            "fill_to": settings.query_maxlen,
            "attend_to_fill": settings.attend_to_mask_tokens,
        },
        "passage": {
            "before": frame.document,
            "after": frame.after,
            "most_tokens": settings.doc_maxlen,
            "without_vector": sorted(encoder.tokenizer.skipped),
        },
    }
