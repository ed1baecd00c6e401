"""The modules of the first edition, each where it is now: notebooks that were written for it keep running."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "batches": "text.batches",
    "benchmark": "evaluation.harness",
    "chat.speaker": "models.chat_model",
    "chat_template": "text.chat_template",
    "corpus": "pretraining.corpus",
    "decoding": "inference.decoding",
    "formats": "data.formats",
    "hardware": "estimate.cards",
    "hosted.asking": "hosted.client",
    "intervals": "evaluation.confidence",
    "leakage": "data.leaks",
    "ledger": "estimate.memory_tracker",
    "likelihood": "evaluation.likelihood",
    "measures": "evaluation.scores",
    "memory": "estimate.step_memory",
    "messages": "data.messages",
    "metrics": "evaluation.metrics",
    "nano": "pretraining.nano",
    "parts": "models.trainable",
    "pieces": "inference.streaming",
    "places": "paths",
    "pretrain": "pretraining.run",
    "quality": "data.quality",
    "records": "data.files",
    "room": "inference.context",
    "server": "hosted.server",
    "skeleton": "estimate.meta_model",
    "summary": "text.summary",
    "templates": "text.templates",
    "text_metrics": "evaluation.text_metrics",
    "throughput": "estimate.throughput",
    "tokenization": "text.tokenization",
    "training.recorder": "training.run_log",
    "training.sections": "training.config_sections",
    "training.team": "training.distributed",
    "training.trial": "training.measured_steps",
    "utilities": "compat.utilities",
}
RENAMED = {
    "FrameSection": "TemplateSection",
    "Ledger": "MemoryTracker",
    "MEASURES": "SCORES",
    "PARTS": "MODULE_KINDS",
    "Part": "ModuleKind",
    "PartCount": "ParameterCount",
    "Record": "RawRow",
    "Speaker": "ChatModel",
    "Team": "Processes",
    "Trial": "MeasuredSteps",
    "load_speaker": "load_chat_model",
    "make_skeleton": "make_meta_model",
    "make_team": "find_processes",
    "part_of": "module_kind",
    "pieces_of": "text_chunks",
    "read_records": "read_raw_rows",
}


class Moved(MetaPathFinder, Loader):
    """Finds a module under the name that it had in the first edition."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what no other finder did: this one is asked last."""
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "ftlib" and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make a module that hands on every name of the one that took its place."""
        now = f"ftlib.{MOVED[spec.name.removeprefix('ftlib.')]}"
        warnings.warn(f"{spec.name} is {now} since the second edition", DeprecationWarning, stacklevel=2)
        real = importlib.import_module(now)
        module = ModuleType(spec.name, real.__doc__)

        def find(name: str) -> Any:
            return getattr(real, RENAMED.get(name, name))

        module.__getattr__ = find  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module is whole."""
