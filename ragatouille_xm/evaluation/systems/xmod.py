"""X-MOD checkpoints without a ColBERT head, on our encoder: each row uses the adapters of its language."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoTokenizer

from ...errors import CheckpointError
from ...languages import AdapterTable
from ...model.checkpoint import locate, read_config
from ...model.weights import Weights
from ...model.xmod import XmodEncoder
from ...text.detect import make_detector
from .base import route_language
from .batches import load_pretrained

MODEL_TYPE = "xmod"


class XmodCheckpoint:
    """The encoder, tokeniser and languages of an X-MOD checkpoint in Hugging Face's format.

    Parameters
    ----------
    name : str
        Hub id or local folder.
    device : torch.device

    Raises
    ------
    CheckpointError
        If it cannot be found or is not an X-MOD checkpoint.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        folder = locate(name)
        config, _ = read_config(folder)
        if config.get("model_type") != MODEL_TYPE:
            raise CheckpointError(f"The checkpoint {name!r} is of type {config.get('model_type')!r}, not X-MOD.")
        languages = tuple(config.get("languages") or ("en_XX",))
        default = config.get("default_language")
        self.adapters = AdapterTable(languages, default if default in languages else languages[0])
        self.weights = Weights.open(folder)
        self.encoder = XmodEncoder.load(config, self.weights, device, torch.float32)
        self.tokenizer = load_pretrained(AutoTokenizer, str(folder), local_files_only=True)
        self.device = device
        self._detector = make_detector("py3langid")

    def languages_of(
        self, texts: Sequence[str], own: Sequence[str | None], choice: str, among: Sequence[str] | None = None
    ) -> list[str]:
        """Return the language whose adapter encodes each text.

        Parameters
        ----------
        texts : sequence of str
        own : sequence of (str or None)
            The language stated by the dataset for each.
        choice : str
            See `ragatouille_xm.evaluation.systems.base.Settings`.
        among : sequence of str, optional
            Languages of the collection, for texts that say little themselves.
        """
        given = [route_language(each, choice) for each in own]
        unknown = [text for text, language in zip(texts, given, strict=True) if language is None]
        detected = iter(self._detector.detect(unknown, self.adapters.languages, dict.fromkeys(among or (), 1.0)))
        return [next(detected).language if each is None else self.adapters.resolve(each) for each in given]

    def adapters_for(self, languages: Sequence[str]) -> list[str]:
        """Return the adapter of each language."""
        return [str(self.adapters.adapter_for(language)) for language in languages]
