"""nano from beginning to end: harvest, tokenizer, pretraining, evaluation, and the folder that ships."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

from ftlib.corpus import Source, encode_documents, harvest, save_tokenizer, split_documents, train_tokenizer
from ftlib.metrics import bits_per_byte, perplexity
from ftlib.pretrain import Recipe, held_out_loss, last_step, pretrain

_CARD = Path(__file__).resolve().parent / "assets" / "nano_card.md"


def export(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    held_out: Sequence[str],
    sources: Sequence[Source],
    recipe: Recipe,
    run_folder: Path,
    folder: Path,
) -> dict[str, Any]:
    """Write the finished model: bf16 weights, tokenizer, corpus manifest, loss curve and model card.

    The evaluation in the card is that of the rounded weights, loaded back from the folder.

    Returns:
        The evaluation: held-out loss in nats per token, perplexity, bits per byte, and what they are over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.to("cpu", torch.bfloat16).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    rounded = GPTNeoXForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = encode_documents(held_out, tokenizer)
    loss = held_out_loss(rounded, tokens, recipe.context)
    text_bytes = sum(len(text.encode("utf-8", "replace")) for text in held_out)
    report = {
        "held_out_loss_nats_per_token": round(loss, 4),
        "perplexity": round(perplexity(loss), 2),
        "bits_per_byte": round(bits_per_byte(loss, tokens=len(tokens), text_bytes=text_bytes), 4),
        "held_out_documents": len(held_out),
        "held_out_tokens": len(tokens),
        "training_tokens_seen": recipe.total_steps * recipe.batch_windows * recipe.context,
        "parameters": rounded.num_parameters(),
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }
    _write_json(folder / "evaluation.json", report)
    _write_json(folder / "corpus.json", {"recipe": asdict(recipe), "sources": [asdict(source) for source in sources]})
    log = (run_folder / "loss.jsonl").read_text(encoding="utf-8")
    (folder / "loss.jsonl").write_text(log, encoding="utf-8")
    (folder / "README.md").write_text(model_card(report, sources, recipe), encoding="utf-8")
    return report


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

    Taught in: chapters/02_pretraining.ipynb
    """
    train, held_out, sources = _corpus(packages, run_folder)
    tokenizer = _tokenizer(train, recipe, run_folder)
    train_tokens, held_out_tokens = encode_documents(train, tokenizer), encode_documents(held_out, tokenizer)
    print(f"{len(train_tokens):,} training tokens, {len(held_out_tokens):,} held out", flush=True)
    limits = {"checkpoint_every": checkpoint_every, "stop_after_steps": stop_after_steps}
    model = pretrain(train_tokens, held_out_tokens, tokenizer, recipe, run_folder, device=device, **limits)  # type: ignore[arg-type]
    if last_step(run_folder) < recipe.total_steps:
        return None
    return export(model, tokenizer, held_out, sources, recipe, run_folder, folder)


def model_card(report: dict[str, Any], sources: Sequence[Source], recipe: Recipe) -> str:
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


def _corpus(packages: Sequence[str], run_folder: Path) -> tuple[list[str], list[str], list[Source]]:
    store = run_folder / "corpus.json"
    if not store.is_file():
        documents, sources = harvest(packages)
        run_folder.mkdir(parents=True, exist_ok=True)
        _write_json(store, {"documents": documents, "sources": [asdict(source) for source in sources]})
    content = json.loads(store.read_text(encoding="utf-8"))
    return (*split_documents(content["documents"]), [Source(**source) for source in content["sources"]])


def _tokenizer(train: Sequence[str], recipe: Recipe, run_folder: Path) -> PreTrainedTokenizerFast:
    folder = run_folder / "tokenizer"
    if not folder.is_dir():
        save_tokenizer(train_tokenizer(train, recipe.vocabulary_size, recipe.context), folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
