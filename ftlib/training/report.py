"""What a finished run tells about itself: a summary, a card and a picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import transformers

import ftlib
from ftlib.models.trainable import ParameterCount
from ftlib.paths import assets_folder
from ftlib.training.checkpoints import Checkpoint
from ftlib.training.job import Step
from ftlib.training.speed import Speed

_CARD = assets_folder() / "run_card.md"


def summarize_run(
    history: Sequence[Step],
    best: Checkpoint,
    counts: dict[str, ParameterCount],
    speed: Speed,
    *,
    model: str,
    engine: str,
    objective: str,
    **facts: Any,
) -> dict[str, Any]:
    """Return the numbers of a run, ready for JSON.

    Args:
        history: Its steps.
        best: Its best checkpoint.
        counts: Weights of each part of its model.
        speed: Turns tokens and seconds into figures.
        model: Name of the model that it began with.
        engine: Who took the steps.
        objective: What was learnt from.
        facts: Further ones: the number of rows, the precision.
    """
    seconds, tokens = sum(s.seconds for s in history), sum(s.tokens for s in history)
    return {
        "model": model,
        "engine": engine,
        "objective": objective,
        "parameters": counts["all"].total,
        "trainable_parameters": counts["all"].trainable,
        **facts,
        "steps": history[-1].number,
        "learning_rate": max(step.learning_rate for step in history),
        "tokens": tokens,
        "training_seconds": round(seconds, 2),
        "tokens_per_second": None,
        "model_flops_utilization": None,
        **speed.figures(tokens, seconds),
        "flops_per_token": speed.flops_per_token,
        "matrix_product_flops_per_second": round(speed.peak_flops),
        "first_loss": history[0].loss,
        "last_loss": history[-1].loss,
        "best_eval_loss": best.eval_loss,
        "best_step": best.step,
        **(_rewards_told(history) if objective == "grpo" else {}),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {_device_name()}",
        "versions": {"ftlib": ftlib.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }


def _rewards_told(history: Sequence[Step]) -> dict[str, float]:
    """Return the mean reward of the first and of the last step."""
    first, last = ((step.rewards or {}).get("reward", 0.0) for step in (history[0], history[-1]))
    return {"first_reward": first, "last_reward": last}


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no graphics card"


def run_card(
    name: str, summary: dict[str, Any], *, source: str, has_own_template: bool, best: Checkpoint, last: Checkpoint
) -> str:
    """Return the text of the card: what was trained on what, how well, and how to load it.

    Args:
        name: Of the run's folder.
        summary: From :func:`summarize_run`, with the number of rows and the template.
        source: Of the data that it was trained on.
        has_own_template: Whether its template stands in the configuration itself.
        best: The best checkpoint.
        last: The last one.
    """
    measured = "not measured" if best.eval_loss is None else f"{best.eval_loss:.4f} {loss_unit(summary['objective'])}"
    trained = f"{summary['trainable_parameters']:,} of {summary['parameters']:,}"
    template = "template of `config.yaml`" if has_own_template else f"template `{summary['template']}`"
    told: dict[str, Any] = {"measured": measured, "trained": trained, "asked_with": template, "rate": _rate(summary)}
    told |= {"computed_in": _computed_in(summary), "reward_row": _reward_row(summary), "source": source, "name": name}
    told |= {"reward_picture": _reward_picture(summary), "best": best.folder.name, "last": last.folder.name}
    return _CARD.read_text(encoding="utf-8").format(**(summary | told))


def loss_unit(objective: str) -> str:
    """Return what the losses of a run are counted in."""
    return "nats per pair" if objective == "dpo" else "nats per token"


def _reward_row(summary: dict[str, Any]) -> str:
    if "first_reward" not in summary:
        return ""
    shown = f"{summary['first_reward']:.4f}, {summary['last_reward']:.4f}"
    return f"| mean reward of the first and the last step | {shown} |\n"


def _reward_picture(summary: dict[str, Any]) -> str:
    """Show the rewards too: GRPO's loss is about 0 at every step, and says nothing about how well it goes."""
    return "\n\n![Mean reward of each step](reward.png)" if "first_reward" in summary else ""


def _computed_in(summary: dict[str, Any]) -> str:
    """Say what was computed in; where `train.precision` is auto, with the reason."""
    reason = summary.get("precision_reason")
    return f"{summary['precision']}, chosen by itself: {reason}" if reason else str(summary["precision"])


def _rate(summary: dict[str, Any]) -> str:
    if summary["tokens_per_second"] is None:
        return "not measured"
    best = summary["matrix_product_flops_per_second"] / 1e9
    share = (
        f"{summary['model_flops_utilization']:.0%} of the {best:,.0f} GFLOP/s that a product of large matrices reached"
    )
    return f"{summary['tokens_per_second']:,.0f}, {share}"


def plot_losses(history: Sequence[Step], path: Path, *, unit: str = "nats per token") -> None:
    """Draw the losses of a run into a file.

    Args:
        history: Its steps.
        path: Of the picture.
        unit: Of the losses.
    """
    import matplotlib.pyplot as plt

    from ftlib.plots import plot_curves

    evaluated = [step for step in history if step.eval_loss is not None]
    curves: dict[str, Any] = {"training": ([s.number for s in history], [s.loss for s in history])}
    if evaluated:
        curves["evaluation"] = ([s.number for s in evaluated], [s.eval_loss for s in evaluated])
    figure = plot_curves(curves, x="step", y=f"loss ({unit})")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_rewards(history: Sequence[Step], path: Path) -> None:
    """Draw the mean rewards of a run into a file, with a band of one standard deviation of the answers around them.

    Args:
        history: Its steps, each with rewards.
        path: Of the picture.
    """
    import matplotlib.pyplot as plt

    from ftlib.plots import plot_curves

    told = [(step.number, step.rewards["reward"], step.rewards["reward_std"]) for step in history if step.rewards]
    numbers, means, spreads = zip(*told, strict=True)
    figure = plot_curves({"sampled answers": (numbers, means)}, x="step", y="mean reward")
    low, high = ([mean + side * spread for mean, spread in zip(means, spreads, strict=True)] for side in (-1, 1))
    figure.axes[0].fill_between(numbers, low, high, alpha=0.2, linewidth=0)
    figure.savefig(path, dpi=120)
    plt.close(figure)
