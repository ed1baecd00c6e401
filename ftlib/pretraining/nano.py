"""nano from beginning to end: harvest, tokenizer, pretraining, evaluation, and the folder that ships."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ftlib.evaluation.metrics import bits_per_byte, perplexity
from ftlib.files import check_folder, whole_folder, write_whole
from ftlib.models.loading import load_model, save_quietly
from ftlib.paths import assets_folder
from ftlib.pretraining.corpus import (
    Source,
    encode_documents,
    harvest,
    near_copies,
    save_tokenizer,
    split_documents,
    train_tokenizer,
)
from ftlib.pretraining.recipe import Recipe
from ftlib.pretraining.run import LOG, held_out_loss, pretrain
from ftlib.training.checkpoints import checkpoints

_CARD = assets_folder() / "nano_card.md"


@dataclass(frozen=True)
class Corpus:
    """Harvested text, split by document.

    Attributes:
        train: Documents to train on.
        held_out: Documents to measure on.
        sources: One row for each package: the manifest.
    """

    train: list[str]
    held_out: list[str]
    sources: list[Source]


def export(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    corpus: Corpus,
    recipe: Recipe,
    *,
    run_folder: Path,
    folder: Path,
) -> dict[str, Any]:
    """Write the finished model: bf16 weights, tokenizer, corpus manifest, loss curve and model card.

    The evaluation in the card is that of the rounded weights, loaded back from the folder.

    Returns:
        The evaluation, as :func:`evaluate_rounded` gives it, with the checksum of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.to("cpu", torch.bfloat16)  # type: ignore[arg-type]  # as in pretraining.run
    save_quietly(model, folder)
    save_tokenizer(tokenizer, folder)
    rounded, _ = load_model(folder, device="cpu")
    report = evaluate_rounded(rounded, tokenizer, corpus, recipe)
    report["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    _write_json(folder / "evaluation.json", report)
    manifest = [asdict(source) for source in corpus.sources]
    _write_json(folder / "corpus.json", {"recipe": asdict(recipe), "sources": manifest})
    log = (run_folder / LOG).read_text(encoding="utf-8")
    (folder / LOG).write_text(log, encoding="utf-8")
    (folder / "README.md").write_text(nano_card(report, corpus.sources, recipe), encoding="utf-8")
    return report


def evaluate_rounded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, corpus: Corpus, recipe: Recipe
) -> dict[str, Any]:
    """Measure a pretrained model on its held-out documents, and on those of them that have no near-copy in training.

    Returns:
        Losses in nats per token, perplexity, bits per byte, what they are over, when and where.
    """
    tokens = encode_documents(tokenizer, corpus.held_out)
    loss = held_out_loss(model, tokens, recipe.context)
    copied = near_copies(corpus.held_out, corpus.train)
    fresh = [text for text, is_copy in zip(corpus.held_out, copied, strict=True) if not is_copy]
    text_bytes = sum(len(text.encode("utf-8", "replace")) for text in corpus.held_out)
    return {
        "held_out_loss_nats_per_token": round(loss, 4),
        "perplexity": round(perplexity(loss), 2),
        "bits_per_byte": round(bits_per_byte(loss, tokens=len(tokens), text_bytes=text_bytes), 4),
        "held_out_documents": len(corpus.held_out),
        "held_out_tokens": len(tokens),
        "near_copies": sum(copied),
        "loss_without_near_copies": round(held_out_loss(model, encode_documents(tokenizer, fresh), recipe.context), 4),
        "training_tokens_seen": recipe.total_steps * recipe.batch_windows * recipe.context,
        "parameters": model.num_parameters(),
        "recorded_on": datetime.now(tz=timezone.utc).date().isoformat(),
        "recorded_with": f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} CPU threads",
    }


def make_nano(
    packages: Sequence[str],
    recipe: Recipe,
    run_folder: Path,
    folder: Path,
    *,
    checkpoint_every: int = 100,
    stop_after_steps: int | None = None,
    device: str = "cpu",
) -> dict[str, Any] | None:
    """Carry out the whole recipe, or go on with it: what the run folder already holds is not done again.

    Args:
        packages: Distributions to harvest; ``"python"`` stands for the standard library.
        recipe: What to train and for how long.
        run_folder: Corpus, tokenizer, checkpoints and log.
        folder: Where the finished model goes.
        checkpoint_every: Optimizer steps between two checkpoints.
        stop_after_steps: Leave after so many steps of this sitting; the next call goes on from there.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The evaluation, or ``None`` when the run has not come to its end yet.

    Raises:
        DataError: A package is not installed, or there is too little text.
        ModelError: The run folder belongs to another recipe.
    """
    for place in (run_folder, folder):
        check_folder(place)
    corpus = _corpus(packages, run_folder)
    tokenizer = _tokenizer(corpus.train, recipe, run_folder)
    train_tokens = encode_documents(tokenizer, corpus.train)
    held_out_tokens = encode_documents(tokenizer, corpus.held_out)
    print(f"{len(train_tokens):,} training tokens, {len(held_out_tokens):,} held out", flush=True)
    model = pretrain(
        tokenizer,
        train_tokens,
        held_out_tokens,
        recipe,
        run_folder,
        checkpoint_every=checkpoint_every,
        stop_after_steps=stop_after_steps,
        device=device,
    )
    if max((checkpoint.step for checkpoint in checkpoints(run_folder)), default=0) < recipe.total_steps:
        return None
    return export(model, tokenizer, corpus, recipe, run_folder=run_folder, folder=folder)


def nano_card(report: dict[str, Any], sources: Sequence[Source], recipe: Recipe) -> str:
    """Write the card of a pretrained model in Markdown, from what was measured."""
    largest = sorted(sources, key=lambda source: -source.text_bytes)[:10]
    rows = "\n".join(f"| {s.name} | {s.version} | {s.documents:,} | {s.text_bytes / 1e6:.2f} |" for s in largest)
    return _CARD.read_text(encoding="utf-8").format(
        rows=rows,
        packages=len(sources),
        megabytes=sum(source.text_bytes for source in sources) / 1e6,
        documents=sum(source.documents for source in sources),
        **asdict(recipe),
        **report,
    )


def _corpus(packages: Sequence[str], run_folder: Path) -> Corpus:
    store = run_folder / "corpus.json"
    if not store.is_file():
        documents, sources = harvest(packages)
        run_folder.mkdir(parents=True, exist_ok=True)
        _write_json(store, {"documents": documents, "sources": [asdict(source) for source in sources]})
    content = json.loads(store.read_text(encoding="utf-8"))
    train, held_out = split_documents(content["documents"])
    return Corpus(train, held_out, [Source(**source) for source in content["sources"]])


def _tokenizer(train: Sequence[str], recipe: Recipe, run_folder: Path) -> PreTrainedTokenizerFast:
    folder = run_folder / "tokenizer"
    if not folder.is_dir():
        with whole_folder(folder) as partial:
            save_tokenizer(train_tokenizer(train, recipe.vocabulary_size, recipe.context), partial)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def _write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=1) + "\n")
