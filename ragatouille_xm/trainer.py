"""`RAGTrainer`: RAGatouille's interface over `ragatouille_xm.training`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from .config import DEFAULT_ROOT
from .encoder import Encoder
from .errors import InputError
from .training import AdapterConfig, ExampleStream, TrainingConfig, TrainingExample, train, train_language_adapters
from .training.config import check_whole
from .training.mining import draw_negatives, mine_hard_negatives
from .training.raw import export, make_triplets, read_passages, read_raw

RUNS_FOLDER = "training"


class RAGTrainer:
    """Trains a late-interaction model from pairs, labelled pairs or triplets.

    The interface is RAGatouille 0.0.9's. The recipe is ColBERT-XM's (Louis et al. 2024, arXiv 2402.15059): embeddings
    and language adapters stay frozen, so that what is learnt in one language transfers to all. ``docs/training.md``
    explains training, resuming and adding a language; ``docs/parity.md`` lists the differences from RAGatouille.

    Parameters
    ----------
    model_name : str
        Name of the new model; its run is stored in ``.ragatouille/training/<model_name>``.
    pretrained_model_name : str
        Hub id, folder, or ``"demo"``: a ColBERT to train further, or an encoder without a head.
    language_code : str or None
        Language of the training data; None detects it for each text.
    n_usable_gpus : int
        0 uses only the CPU; -1 uses a GPU if there is one. Several GPUs need ``accelerate launch``.

    Attributes
    ----------
    collection : list of str
        Passages that negatives are drawn from.
    queries : list of str or None
        Those of the prepared training data.
    training_triplets : list of TrainingExample
        The prepared training data.

    Raises
    ------
    InputError
        If a value is invalid.

    Examples
    --------
    >>> from ragatouille_xm import RAGTrainer
    >>> trainer = RAGTrainer("mine", "antoinelouis/colbert-xm")  # doctest: +SKIP
    >>> trainer.prepare_training_data(pairs, all_documents=documents)  # doctest: +SKIP
    './data/'
    >>> RAG = RAGPretrainedModel.from_pretrained(trainer.train(batch_size=32))  # doctest: +SKIP
    """

    def __init__(
        self, model_name: str, pretrained_model_name: str, language_code: str | None = "en", n_usable_gpus: int = -1
    ) -> None:
        if (
            not isinstance(model_name, str)
            or not model_name.strip()
            or model_name in (".", "..")
            or any(c in model_name for c in "/\\\0")
        ):
            raise InputError(f"model_name={model_name!r} cannot be a folder's name. Use letters, digits, '-' and '_'.")
        if n_usable_gpus not in (-1, 0, 1):
            raise InputError(
                f"n_usable_gpus={n_usable_gpus!r} is not usable within one process. Give -1, 0 or 1; for more, "
                "start the script with accelerate launch --num_processes N, and leave it out."
            )
        self.model_name = model_name
        self.pretrained_model_name = str(pretrained_model_name)
        self.language_code = language_code
        self.collection: list[str] = []
        self.queries: list[str] | None = None
        self.training_triplets: list[TrainingExample] = []
        self._device = "cpu" if n_usable_gpus == 0 else None

    def add_documents(self, documents: list[str] | list[dict[str, str]]) -> None:
        """Add passages to draw negatives from. Raise `InputError` if they are not strings, or dicts with a content."""
        self.collection += read_passages(documents, "documents")

    def prepare_training_data(
        self,
        raw_data: list[tuple[Any, ...]] | list[list[Any]],
        all_documents: list[str] | list[dict[str, str]] | None = None,
        data_out_path: str | Path = "./data/",
        num_new_negatives: int = 10,
        hard_negative_minimum_rank: int = 10,
        mine_hard_negatives: bool = True,
        hard_negative_model_size: str = "small",
        pairs_with_labels: bool = False,
        positive_label: int | str = 1,
        negative_label: int | str = 0,
    ) -> str:
        """Turn raw data into triplets with new negatives, and write them in colbert-ai's format.

        Parameters
        ----------
        raw_data : list of tuple or list
            ``(query, positive)``, ``(query, passage, label)`` with `pairs_with_labels`, or ``(query, positive,
            negative)``; a positive or negative may be a list.
        all_documents : list of str or of dict, optional
            More passages to draw negatives from, or `CorpusProcessor`'s dicts of them; blank ones are left out.
        data_out_path : str or Path
            Folder for queries, corpus and triples.
        num_new_negatives : int
            For each query.
        hard_negative_minimum_rank : int
            Number of top passages that mining skips, since they may be relevant.
        mine_hard_negatives : bool
            Take negatives that the model to be trained ranks high, instead of random ones.
        hard_negative_model_size : str
            Only ``"small"``: RAGatouille mines with another model of that size, this package with the trained model.
        pairs_with_labels, positive_label, negative_label
            Labels of ``(query, passage, label)``.

        Returns
        -------
        str
            `data_out_path`.

        Raises
        ------
        InputError
            If the data is empty or malformed, or no query has both a positive and a negative; nothing is written then.
        """
        if hard_negative_model_size != "small":
            raise InputError(
                f"hard_negative_model_size={hard_negative_model_size!r} has no effect: negatives are mined with the "
                "model that is trained. Leave it out."
            )
        if isinstance(num_new_negatives, bool) or not isinstance(num_new_negatives, int) or num_new_negatives < 0:
            raise InputError(f"num_new_negatives={num_new_negatives!r} is not usable. Give a whole number, 0 for none.")
        judged = read_raw(
            raw_data, pairs_with_labels=pairs_with_labels, positive_label=positive_label, negative_label=negative_label
        )
        given = (text for each in judged.values() for text in (*each.positives, *each.negatives))
        more = read_passages(all_documents or [], "all_documents")
        corpus = [text for text in dict.fromkeys([*self.collection, *more, *given]) if text.strip()]

        def new_negatives(queries: Sequence[str], known: Mapping[str, frozenset[str]]) -> Mapping[str, Sequence[str]]:
            if not mine_hard_negatives:
                return draw_negatives(queries, corpus, known, num_new_negatives)
            return self._mine(queries, corpus, known, num_new_negatives, hard_negative_minimum_rank)

        triplets = make_triplets(judged, new_negatives if num_new_negatives else None)
        random.Random(42).shuffle(triplets)
        export(triplets, corpus, Path(data_out_path))
        self.collection, self.queries, self.training_triplets = corpus, list(judged), triplets
        return str(data_out_path)

    def _mine(
        self, queries: Sequence[str], corpus: Sequence[str], known: Mapping[str, frozenset[str]], n: int, rank: int
    ) -> dict[str, list[str]]:
        encoder = Encoder.from_pretrained(self.pretrained_model_name, device=self._device)
        return mine_hard_negatives(
            encoder, queries, corpus, known, n, minimum_rank=rank, language=self.language_code, progress=True
        )

    def export_training_data(self, path: str | Path) -> None:
        """Write the prepared training data to another folder.

        Raises
        ------
        InputError
            If there is none yet, or it cannot be written.
        """
        self._check_prepared()
        export(self.training_triplets, self.collection, Path(path))

    def _check_prepared(self) -> None:
        if not self.training_triplets:
            raise InputError("There is no training data yet. Call prepare_training_data first, or give examples=….")

    def train(
        self,
        batch_size: int = 128,
        nbits: int = 2,
        maxsteps: int = 50_000,
        use_ib_negatives: bool = True,
        learning_rate: float = 3e-6,
        dim: int | None = None,
        doc_maxlen: int = 256,
        use_relu: bool = False,
        warmup_steps: int | Literal["auto"] = "auto",
        accumsteps: int = 1,
        *,
        examples: Sequence[TrainingExample] | ExampleStream[TrainingExample] | None = None,
        validation: Sequence[TrainingExample] | Callable[[Encoder], float] | None = None,
        output: str | Path | None = None,
        resume: bool = False,
        chunk_size: int | None = None,
        precision: str | None = None,
        seed: int = 0,
    ) -> str:
        """Train, and return the checkpoint to load. Defaults are the paper's where they differ from RAGatouille's.

        Parameters
        ----------
        batch_size : int
            Queries per step (RAGatouille: 32).
        nbits : int
            Bits of colbert-ai's compression, recorded in the checkpoint; our indexes do not use it.
        maxsteps : int
            Maximum steps (RAGatouille: 500,000). Prepared data is used once at most.
        use_ib_negatives : bool
            Add the softmax over the other queries' passages.
        learning_rate : float
            Peak learning rate (RAGatouille: 5e-6).
        dim : int, optional
            Width of a token vector; by default the checkpoint's, or 128 if it has no head.
        doc_maxlen : int
            Maximum tokens per passage.
        use_relu : bool
            Only False: checkpoints in ColBERT's format have no ReLU.
        warmup_steps : int or "auto"
            By default a tenth of the steps.
        accumsteps : int
            Number of parts a batch is split into.
        examples : sequence of TrainingExample, or ExampleStream, optional
            Train on these for `maxsteps` steps, instead of prepared data: see `ragatouille_xm.training.files`.
        validation, resume, chunk_size, precision, seed : optional
            As for `ragatouille_xm.training.train` and `TrainingConfig`. The model is validated and saved ten times, or
            every 1,000 steps if that is more often.
        output : str or Path, optional
            Folder of the run, by default ``.ragatouille/training/<model_name>``.

        Returns
        -------
        str
            Folder of the best checkpoint by `validation`, or of the last one.

        Raises
        ------
        InputError
            If there is no training data, or a value is invalid.
        """
        if use_relu:
            raise InputError("use_relu=True cannot be stored in a checkpoint of ColBERT's format. Leave it out.")
        for name, value in (("batch_size", batch_size), ("maxsteps", maxsteps), ("accumsteps", accumsteps)):
            check_whole(name, value, least=1)
        if warmup_steps != "auto":
            check_whole("warmup_steps", warmup_steps, least=0)
        steps = maxsteps
        if examples is None:
            self._check_prepared()
            examples = self.training_triplets
            steps = min(maxsteps, len(examples) // batch_size)
            if steps == 0:
                raise InputError(
                    f"{len(examples)} triplets are fewer than batch_size={batch_size}. Give a smaller one."
                )
        config = TrainingConfig(
            batch_size=batch_size,
            steps=steps,
            learning_rate=learning_rate,
            warmup=None if warmup_steps == "auto" else warmup_steps,
            in_batch=use_ib_negatives,
            accumulation=accumsteps,
            chunk_size=chunk_size,
            doc_maxlen=doc_maxlen,
            dim=dim,
            nbits=nbits,
            precision=precision,
            seed=seed,
            save_every=max(1, min(1000, steps // 10)),
            validate_every=max(1, min(1000, steps // 10)),
        )
        path = train(
            self.pretrained_model_name,
            examples,
            Path(DEFAULT_ROOT) / RUNS_FOLDER / self.model_name if output is None else output,
            config,
            language=self.language_code,
            validation=validation,
            resume=resume,
            device=self._device,
        )
        return str(path)

    def add_language(
        self,
        language: str,
        texts: Sequence[str],
        output: str | Path,
        config: AdapterConfig | None = None,
        *,
        start_from: str | None = None,
    ) -> str:
        """Train a language adapter on raw text, and continue from the resulting checkpoint.

        Parameters
        ----------
        language : str
            A new one (``"yo"``), or one of the checkpoint's.
        texts : sequence of str
        output : str or Path
            Folder for the new checkpoint; must not exist.
        config, start_from
            As for `ragatouille_xm.training.train_language_adapters`.

        Returns
        -------
        str
            `output`.

        Raises
        ------
        InputError
            If there is no text, or `output` exists.
        LanguageError
            If it is not a language, or the checkpoint has no adapters.
        """
        path = train_language_adapters(
            self.pretrained_model_name, {language: texts}, output, config, start_from=start_from, device=self._device
        )
        self.pretrained_model_name = str(path)
        return str(path)
