"""Pretraining from random weights: windows of text, two optimizers, checkpoints and resume.

The same functions run at toy size in the tests and in chapter 3, and at full size for nano
(:mod:`ftlib.pretraining.nano`).
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from ftlib.errors import DataError, ModelError
from ftlib.files import read_note, write_whole
from ftlib.models.loading import load_model
from ftlib.models.precision import best_precision
from ftlib.muon import muon_and_adamw
from ftlib.old_calls import tokenizer_before_data
from ftlib.pretraining.recipe import Recipe
from ftlib.training.checkpoints import Checkpoint, checkpoints, load_state, prune, save_checkpoint
from ftlib.training.job import check_finite
from ftlib.training.optimizers import OptimizerPair, schedule, set_rates

RECIPE, LOG = "recipe.json", "loss.jsonl"


def window_batch(tokens: np.ndarray, step: int, recipe: Recipe) -> Tensor:
    """Return the windows of one optimizer step: the same for the same step, so a run can resume anywhere.

    An epoch reads every window of the corpus once, in an order that its seed decides.

    Returns:
        ``(batch_windows, context + 1)`` token ids; the extra one is the last target.
    """
    windows = (len(tokens) - 1) // recipe.context
    first = step * recipe.batch_windows
    chosen = [
        int(_epoch_order(index // windows, windows, recipe.seed)[index % windows])
        for index in range(first, first + recipe.batch_windows)
    ]
    rows = [tokens[window * recipe.context : (window + 1) * recipe.context + 1] for window in chosen]
    return torch.from_numpy(np.stack(rows).astype(np.int64))


@tokenizer_before_data(0)
def new_model(tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> GPTNeoXForCausalLM:
    """Build nano with random weights: Pythia's architecture, smaller."""
    torch.manual_seed(recipe.seed)
    config = GPTNeoXConfig(
        vocab_size=recipe.vocabulary_size,
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=4 * recipe.width,
        max_position_embeddings=recipe.context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPTNeoXForCausalLM(config)


@torch.no_grad()
def held_out_loss(model: nn.Module, tokens: np.ndarray, context: int, *, max_windows: int | None = None) -> float:
    """Mean next-token loss over a row of held-out tokens, in nats per token (0 and up; lower is better).

    Args:
        model: A causal language model; its training mode stays as it is.
        tokens: Ids from :func:`encode_documents`, shape ``(tokens,)``.
        context: Tokens of a window; what is left over at the end is not read.
        max_windows: Read only so many windows, spread evenly.

    Raises:
        DataError: There are fewer tokens than one window.

    Taught in: chapters/03_pretraining.ipynb
    """
    windows = (len(tokens) - 1) // context
    if windows == 0:
        raise DataError(f"{len(tokens)} held-out tokens are less than one window of {context}: harvest more text")
    chosen = np.linspace(0, windows - 1, min(windows, max_windows or windows)).round().astype(int)
    device = next(model.parameters()).device
    total = 0.0
    for start in range(0, len(chosen), 16):
        rows = [tokens[i * context : (i + 1) * context + 1] for i in chosen[start : start + 16]]
        batch = torch.from_numpy(np.stack(rows).astype(np.int64)).to(device)
        total += float(_next_token_loss(model, batch)) * len(rows)
    return total / len(chosen)


@tokenizer_before_data(0)
def pretrain(
    tokenizer: PreTrainedTokenizerFast,
    train_tokens: np.ndarray,
    held_out_tokens: np.ndarray,
    recipe: Recipe,
    run_folder: Path,
    *,
    checkpoint_every: int = 100,
    stop_after_steps: int | None = None,
    device: str = "cpu",
) -> GPTNeoXForCausalLM:
    """Train nano, or go on from the run folder's last checkpoint.

    Checkpoints, schedule and optimizer are those of fine-tuning (:mod:`ftlib.training`). The loop is its own: its
    windows all have one length and every token is a target, so it needs neither the padding nor the counts of
    targets that :func:`ftlib.training.loop.run` is about. Writes ``recipe.json`` and appends to ``loss.jsonl``.

    Args:
        tokenizer: Gives the ids of the special tokens, and is saved with each checkpoint.
        train_tokens: Ids from :func:`encode_documents`, shape ``(tokens,)``.
        held_out_tokens: The same of the held-out documents; a part is evaluated at each checkpoint.
        recipe: What to train and for how long.
        run_folder: Where checkpoints and the log are kept.
        checkpoint_every: Optimizer steps between two checkpoints.
        stop_after_steps: Leave after so many steps of this sitting (a checkpoint is written first).
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The model in evaluation mode.

    Raises:
        DataError: There is less training text than one window.
        ModelError: The run folder belongs to another recipe.
        TrainingError: The loss is no number any more, or a checkpoint can't be written or read.

    Taught in: chapters/03_pretraining.ipynb
    """
    if len(train_tokens) <= recipe.context:
        raise DataError(f"{len(train_tokens)} training tokens are less than one window of {recipe.context}")
    start = _where_it_stopped(run_folder, recipe)
    model, optimizer = _model_and_optimizer(tokenizer, recipe, start, device)
    first = start.step if start else 0
    last = recipe.total_steps if stop_after_steps is None else min(recipe.total_steps, first + stop_after_steps)
    started = time.perf_counter()
    for step in range(first, last):
        done = step + 1
        loss = _train_step(model, optimizer, window_batch(train_tokens, step, recipe).to(device), done, recipe)
        if done % checkpoint_every == 0 or done == last:
            tokens_per_second = (done - first) * recipe.batch_windows * recipe.context / (time.perf_counter() - started)
            model.eval()
            check = held_out_loss(model, held_out_tokens, recipe.context, max_windows=64)
            model.train()
            _log(run_folder, recipe, done, loss, check, tokens_per_second)
            save_checkpoint(model, tokenizer, run_folder, optimizer, step=done, rank=None)
            prune(run_folder, keep=1)
    model.eval()
    return model


def _where_it_stopped(run_folder: Path, recipe: Recipe) -> Checkpoint | None:
    """Return the run folder's last checkpoint, if it has one, and note there what is being trained."""
    found, note = checkpoints(run_folder), run_folder / RECIPE
    if found:
        way_out = "choose another folder, or delete it"
        known = read_note(note, *asdict(recipe), error=ModelError, way_out=way_out)
        if known | {"total_tokens": recipe.total_tokens} != asdict(recipe):
            raise ModelError(f"{run_folder} holds a run of another recipe: {way_out}\n{known}")
    run_folder.mkdir(parents=True, exist_ok=True)
    write_whole(note, json.dumps(asdict(recipe), indent=1) + "\n")
    return found[-1] if found else None


def _model_and_optimizer(
    tokenizer: PreTrainedTokenizerFast, recipe: Recipe, start: Checkpoint | None, device: str
) -> tuple[GPTNeoXForCausalLM, OptimizerPair]:
    """Return a new model and its optimizer (Muon inside the blocks, AdamW elsewhere), or as a checkpoint has them."""
    model = new_model(tokenizer, recipe)
    if start:
        model.load_state_dict(load_model(start.folder, device="cpu")[0].state_dict())
    model.to(device)  # type: ignore[arg-type]  # transformers wraps it, and the wrapper forgets the model's type
    optimizer = OptimizerPair(
        *muon_and_adamw(
            model,
            matrix_learning_rate=recipe.matrix_learning_rate,
            other_learning_rate=recipe.other_learning_rate,
            weight_decay=recipe.weight_decay,
        )
    )
    if start:
        load_state(start, optimizer)
    return model, optimizer


def _train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor, number: int, recipe: Recipe
) -> float:
    set_rates(optimizer, schedule(number, recipe.warmup_steps, recipe.total_steps, decay_steps=recipe.decay_steps))
    total = 0.0
    for part in batch.split(recipe.micro_windows):
        loss = _next_token_loss(model, part) * (len(part) / len(batch))
        loss.backward()
        total += float(loss.detach())
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
    check_finite(number, total, norm)
    optimizer.step()
    optimizer.zero_grad()
    return total


def _next_token_loss(model: nn.Module, windows: Tensor) -> Tensor:
    half = best_precision(windows.device).name == "bfloat16"
    with torch.autocast(windows.device.type, torch.bfloat16, enabled=half):
        logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())


_orders: dict[tuple[int, int, int], np.ndarray] = {}


def _epoch_order(epoch: int, windows: int, seed: int) -> np.ndarray:
    key = (epoch, windows, seed)
    if key not in _orders:
        _orders[key] = np.random.default_rng((seed, epoch)).permutation(windows)
    return _orders[key]


def _log(run_folder: Path, recipe: Recipe, step: int, loss: float, held_out: float, tokens_per_second: float) -> None:
    row = {
        "step": step,
        "tokens": step * recipe.batch_windows * recipe.context,
        "train_loss": round(loss, 4),
        "held_out_loss": round(held_out, 4),
        "tokens_per_second": round(tokens_per_second),
    }
    with (run_folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
    losses = f"loss {loss:.3f}, held out {held_out:.3f}"
    print(
        f"step {step}/{recipe.total_steps}, {row['tokens']:,} tokens: {losses}, {row['tokens_per_second']:,} tokens/s",
        flush=True,
    )
