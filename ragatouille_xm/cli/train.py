"""Commands that train: train, add-language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .app import CHECKPOINTS, app, facade
from .files.encoding import check_encoding, open_bytes, open_text
from .index import DeviceOption
from .inputs import EncodingOption
from .output import say, say_waiting

if TYPE_CHECKING:
    from ..training import ExampleStream, Pair, TrainingExample
    from ..training.loop import Validation

CheckpointOption = Annotated[str, typer.Option(help="Hub id or folder of the checkpoint to start from.")]
DataOption = Annotated[str, typer.Option(help="A .tsv or .jsonl file of training data (.gz too), or ir_datasets:NAME.")]


@app.command(
    rich_help_panel=CHECKPOINTS,
    epilog="""
    Examples:

        ragatouille-xm train --data triples.tsv --output run --batch-size 32 --steps 1000
        ragatouille-xm train --data qidpidtriples.tsv --queries queries.tsv --collection collection.tsv --output run
        ragatouille-xm train --data ir_datasets:msmarco-passage/train/triples-small --output run
        ragatouille-xm train --data triples.tsv --output run --batch-size 32 --steps 1000 --resume
        ragatouille-xm train --data triples.tsv --output run --steps 1000 --validation dev/fr --every 100

    Several GPUs: accelerate launch -m ragatouille_xm.cli train …
    """,
)
def train(
    data: DataOption,
    output: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, log.jsonl, curves.png.")],
    checkpoint: CheckpointOption = "antoinelouis/colbert-xm",
    queries: Annotated[Path | None, typer.Option(help="Texts of the query ids: a tsv file of ids and texts.")] = None,
    collection: Annotated[Path | None, typer.Option(help="Likewise for passage ids.")] = None,
    language: Annotated[str, typer.Option(help="Language of the data, or 'detect' for each text.")] = "en",
    steps: Annotated[int, typer.Option(min=1)] = 50_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Queries per step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Peak; rises over a tenth of the steps, then falls.")] = 3e-6,
    negatives: Annotated[int, typer.Option(min=1, help="Negative passages per query.")] = 1,
    in_batch: Annotated[bool, typer.Option(help="Use other queries' passages as negatives too.")] = True,
    distillation: Annotated[
        bool, typer.Option("--distillation", help="Learn from the teacher's scores in the data.")
    ] = False,
    accumulation: Annotated[int, typer.Option(min=1, help="Number of micro-batches a batch is split into.")] = 1,
    chunk_size: Annotated[
        int | None, typer.Option(min=1, help="Texts encoded at a time: the gradient of a whole batch in less memory.")
    ] = None,
    doc_maxlen: Annotated[int, typer.Option(help="Maximum tokens per passage.")] = 256,
    dim: Annotated[int | None, typer.Option(help="Width of a token vector, for a checkpoint without a head.")] = None,
    precision: Annotated[str | None, typer.Option(help="no, bf16 or fp16; by default bf16 on a GPU.")] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Selects the best checkpoint: data as for --data (loss) or a folder as for evaluate (MRR@10)."
        ),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints, and between validations.")] = 1000,
    seed: Annotated[int, typer.Option()] = 0,
    device: DeviceOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --output.")] = False,
) -> None:
    """Train a checkpoint for retrieval by ColBERT-XM's recipe, with embeddings and language adapters frozen.

    The defaults are the paper's. A killed run continues with --resume and ends as if it had never stopped.
    """
    facade()  # silences the libraries it uses
    from .. import training
    from ..evaluation.validation import RankingValidation

    say_waiting("Reading the training data")
    given_language = None if language == "detect" else language
    checks: Validation | None = None
    if validation is not None and validation.is_dir():
        checks = RankingValidation(validation, given_language)
    elif validation is not None:
        checks = training.read_examples(validation, queries=queries, collection=collection)
    config = training.TrainingConfig(
        batch_size=batch_size,
        steps=steps,
        learning_rate=learning_rate,
        negatives=negatives,
        in_batch=in_batch,
        distillation=distillation,
        accumulation=accumulation,
        chunk_size=chunk_size,
        doc_maxlen=doc_maxlen,
        dim=dim,
        precision=precision,
        seed=seed,
        validate_every=every,
        save_every=every,
    )
    path = training.train(
        checkpoint,
        _examples(data, queries, collection),
        output,
        config,
        language=given_language,
        validation=checks,
        resume=resume,
        device=device,
    )
    say(f"Trained: {path}. Its curves: {output / 'curves.png'}")
    say(f"Try: ragatouille-xm index docs/ --name mine --checkpoint {path}")


def _examples(
    data: str, queries: Path | None, collection: Path | None
) -> Sequence[TrainingExample] | ExampleStream[TrainingExample]:
    from .. import training

    kind, _, name = data.partition(":")
    if kind == "ir_datasets":
        return training.IrDatasetsTriples(name)
    return training.read_examples(data, queries=queries, collection=collection)


@app.command(
    rich_help_panel=CHECKPOINTS,
    epilog="""
    Examples:

        ragatouille-xm add-language yo --texts yoruba.txt --output colbert-xm-yo
        ragatouille-xm add-language ha --pairs en.txt,ha.txt --output colbert-xm-ha
    """,
)
def add_language(
    language: Annotated[str, typer.Argument(help="A code such as 'yo', or an adapter name such as 'yo_NG'.")],
    output: Annotated[Path, typer.Option(help="Folder of the new checkpoint; with --pairs, of the run.")],
    texts: Annotated[Path | None, typer.Option(help="Raw text, one paragraph per line.")] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="Two files with the same texts line by line: English, and the language.", metavar="EN,NEW"),
    ] = None,
    encoding: EncodingOption = None,
    checkpoint: CheckpointOption = "antoinelouis/colbert-xm",
    steps: Annotated[int, typer.Option(min=1)] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts or pairs per step.")] = 16,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak; by default 1e-4 with --texts, 1e-3 with --pairs.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints, with --pairs.")] = 100,
    start_from: Annotated[
        str | None, typer.Option(help="Language to copy at the start, or 'zeros'; by default the nearest relative.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="no, bf16 or fp16; by default bf16 on a GPU.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    device: DeviceOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --output, with --pairs.")] = False,
) -> None:
    """Train a language adapter on raw text or on translations; all other weights stay frozen.

    With --texts, words are guessed from their context. With --pairs, texts learn to score as their translations do;
    what held-out pairs like best is kept, and a killed run continues with --resume.
    """
    facade()
    from .. import training

    if (texts is None) == (pairs is None):
        raise InputError(
            "Give either --texts or --pairs. For both, train on texts first, and then on pairs with the result as "
            "--checkpoint."
        )
    if encoding is not None:
        check_encoding(encoding)
    if pairs is not None:
        distil = replace(training.PAIRS, steps=steps, batch_size=batch_size, precision=precision, seed=seed)
        distil = replace(distil, validate_every=every, save_every=every)
        path = training.distil_language_adapter(
            checkpoint,
            language,
            _read_pairs(pairs, encoding),
            output,
            distil if learning_rate is None else replace(distil, learning_rate=learning_rate),
            start_from=start_from,
            resume=resume,
            device=device,
        )
    else:
        if resume:
            raise InputError("--resume belongs to --pairs: training on --texts cannot be resumed.")
        config = training.AdapterConfig(steps=steps, batch_size=batch_size, precision=precision, seed=seed)
        path = training.train_language_adapters(
            checkpoint,
            {language: [line for line in _lines(str(texts), encoding) if line.strip()]},
            output,
            config if learning_rate is None else replace(config, learning_rate=learning_rate),
            start_from=start_from,
            device=device,
        )
    say(f"Written: {path}.")


def _read_pairs(names: str, encoding: str | None) -> list[Pair]:
    from .. import training

    first, comma, second = names.partition(",")
    if not comma or "," in second:
        raise InputError(f"--pairs {names} is not two files. Give --pairs en.txt,ha.txt: English first.")
    if Path(first).resolve() == Path(second).resolve():
        raise InputError(f"--pairs {names} names one file twice. Give the English texts, and their translations.")
    return training.read_pairs(_lines(first, encoding), _lines(second, encoding), (first, second))


def _lines(name: str, encoding: str | None) -> list[str]:
    with open_bytes(name) as stream, open_text(stream, name, encoding) as content:
        return content.read().removesuffix("\n").split("\n")
