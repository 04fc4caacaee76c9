"""Checkpoints written for other libraries: colbert-ai's form, and the one of sentence-transformers and PyLate.

Both get the ids that a text has here. Where ColBERT puts more before a text than a marker, the tokeniser that is
written does so by itself (`frame`), and neither library needs to know.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from ..encoder import Encoder
from ..errors import InputError
from ..files import absolute
from ..training.saving import new_folder, save_checkpoint, write_json
from .frame import Frame, frame_of, framed, prompt_of, token_names

COLBERT_AI, SENTENCE_TRANSFORMERS = "colbert-ai", "sentence-transformers"
HEAD = "linear.weight"
DENSE = "1_Dense"
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": DENSE, "type": "pylate.models.Dense.Dense"},
]


def write_checkpoint(encoder: Encoder, path: str | Path, format: str = COLBERT_AI, language: str | None = None) -> Path:
    """Write the checkpoint of an encoder for another library.

    Parameters
    ----------
    encoder : Encoder
    path : str or Path
        Folder to make; an empty one may be there.
    format : {"colbert-ai", "sentence-transformers"}
    language : str, optional
        Whose adapter the library shall use, which knows only one; by default the checkpoint's default adapter.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If `format` is unknown, the folder has something in it, or the checkpoint cannot be had in that form.
    LanguageError
        If `language` is not a language.
    """
    if format not in FORMATS:
        raise InputError(f"format={format!r} is not known. Use one of {', '.join(map(repr, FORMATS))}.")
    folder = empty_folder(path)
    if HEAD not in encoder.checkpoint.weights.names:
        raise InputError(
            f"The checkpoint {encoder.checkpoint.name!r} has no tensor {HEAD!r}: only a head of one layer, as in "
            "colbert-ai's format, can be written."
        )
    settings = encoder.checkpoint.settings
    odd = settings.fill_token or settings.skip_in_queries or settings.skip_first
    if odd or (format == COLBERT_AI and not settings.expand_queries):
        raise InputError(
            f"The checkpoint {encoder.checkpoint.name!r} fills queries or drops tokens in a way that cannot be said in "
            f"format={format!r}. Use it here, or give the other format."
        )
    adapter = one_adapter(encoder, language)
    backend, frame = frame_of(encoder.tokenizer)
    FORMATS[format](encoder, folder, {} if adapter is None else {"default_language": adapter}, backend, frame)
    return folder


def empty_folder(path: str | Path) -> Path:
    """Return the folder that a path means; raise `InputError` if there is something in it, or it is a file."""
    folder = absolute(path)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"There is something at {str(folder)!r} already. Give another folder.")
    return folder


def one_adapter(encoder: Encoder, language: str | None) -> str | None:
    """Return the adapter of a language, or the default one; None for a checkpoint without adapters.

    Raises
    ------
    InputError
        If `language` is given for a checkpoint without adapters.
    LanguageError
        If it is not a language.
    """
    if not encoder.adapters.adapters:
        if language is not None:
            raise InputError(f"The checkpoint {encoder.checkpoint.name!r} has no adapters: leave out the language.")
        return None
    return (
        encoder.adapters.default
        if language is None
        else encoder.adapters.adapter_for(encoder.adapters.resolve(language))
    )


def _colbert_ai(encoder: Encoder, folder: Path, config: dict[str, str], backend: Tokenizer, frame: Frame) -> None:
    """Write colbert-ai's form, which inserts a marker after the first token, and knows of nothing else."""
    first, *more = frame.document[:1] + frame.document[2:]
    if [first, *more] != list(frame.query[:1] + frame.query[2:]):
        raise InputError("Queries and passages have other texts put before them, which colbert-ai's form cannot say.")

    def rewrite_tokenizer(temporary: Path) -> None:
        (temporary / "tokenizer.json").write_text(framed(backend, (first, *more), frame.after), encoding="utf-8")
        write_json(temporary / "tokenizer_config.json", token_names(encoder.tokenizer, backend, frame))

    save_checkpoint(
        encoder.checkpoint,
        {},
        folder,
        config=config,
        metadata={"marker": "insert", "dim": encoder.dim},
        also=rewrite_tokenizer if more else None,
    )


def _sentence_transformers(
    encoder: Encoder, folder: Path, config: dict[str, str], backend: Tokenizer, frame: Frame
) -> None:
    """Write PyLate's form, which sentence-transformers' ``MultiVectorEncoder`` reads as well."""
    checkpoint, settings = encoder.checkpoint, encoder.checkpoint.settings
    markers = {"query": frame.query, "document": frame.document}
    before, prefixes, prompts = frame.document, {"query": "", "document": ""}, {}
    if frame.query != frame.document:  # only a token can differ there: it is inserted after the first one
        before = frame.document[:1]
        if {len(ids) for ids in markers.values()} != {2}:
            raise InputError(
                "Queries and passages have other texts put before them, which sentence-transformers' form cannot say."
            )
        prefixes = {role: str(backend.id_to_token(ids[1])) for role, ids in markers.items()}
        # PyLate inserts the token; sentence-transformers puts this before the text, where it becomes that token.
        prompts = {role: prompt_of(framed(backend, before, frame.after), ids[1]) for role, ids in markers.items()}
    skiplist = [backend.id_to_token(i) for i in sorted(encoder.tokenizer.skipped)]
    linear = checkpoint.weights.get(HEAD)
    dim, hidden = linear.shape
    identity = f"{torch.nn.Identity.__module__}.{torch.nn.Identity.__name__}"
    with new_folder(folder) as temporary:
        (temporary / DENSE).mkdir()
        kept = {key: value for key, value in (checkpoint.config | config).items() if key != "architectures"}
        files: dict[str, Any] = {
            "config.json": kept,
            "modules.json": MODULES,
            "sentence_bert_config.json": {"max_seq_length": encoder.tokenizer.max_tokens, "do_lower_case": False},
            "config_sentence_transformers.json": {
                "model_type": "ColBERT",
                "prompts": prompts,
                "default_prompt_name": None,
                "similarity_fn_name": "MaxSim",
                "query_prefix": prefixes["query"],
                "document_prefix": prefixes["document"],
                "query_length": settings.query_maxlen,
                "document_length": settings.doc_maxlen,
                "do_query_expansion": settings.expand_queries,
                "attend_to_expansion_tokens": settings.attend_to_mask_tokens,
                "skiplist_words": skiplist,
            },
            "tokenizer_config.json": token_names(encoder.tokenizer, backend, frame),
            f"{DENSE}/config.json": {
                "in_features": hidden,
                "out_features": dim,
                "bias": False,
                "activation_function": identity,
                "use_residual": False,
            },
        }
        for name, content in files.items():
            write_json(temporary / name, content)
        (temporary / "tokenizer.json").write_text(framed(backend, before, frame.after), encoding="utf-8")
        save_file({HEAD: linear}, temporary / DENSE / "model.safetensors", metadata={"format": "pt"})
        tensors = {name: checkpoint.weights.get(name) for name in checkpoint.weights.names if name != HEAD}
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})


FORMATS: dict[str, Callable[[Encoder, Path, dict[str, str], Tokenizer, Frame], None]] = {
    COLBERT_AI: _colbert_ai,
    SENTENCE_TRANSFORMERS: _sentence_transformers,
}
