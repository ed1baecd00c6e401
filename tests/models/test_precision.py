"""What `auto` takes, on processors and cards that are made up."""

import json

import pytest
import torch

from ftlib.data.writing import save_conversations
from ftlib.models import precision
from ftlib.models.loading import save_model
from ftlib.models.precision import best_precision
from ftlib.models.rounding import agree
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import CARD, SUMMARY, train


@pytest.fixture
def machine(monkeypatch):
    """Returns a function that makes this processor another one."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)

    def make(*instructions, kernels="AVX512", processor="x86_64", arm=False, **variables):
        has = {"AVX512_BF16": False, "AMX": False} | dict.fromkeys(instructions, True)
        monkeypatch.setattr(precision, "_instructions", lambda: has)
        monkeypatch.setattr(precision.platform, "machine", lambda: processor)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kernels)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        monkeypatch.setattr(precision, "_on_arm", lambda: arm)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize(
    ("instructions", "facts", "name", "reason"),
    [
        ([], {}, "float32", "this processor has no instructions for bfloat16"),
        (["AVX512_BF16"], {}, "bfloat16", "this processor multiplies bfloat16 (AVX512_BF16)"),
        (["AVX512_BF16", "AMX"], {}, "bfloat16", "this processor multiplies bfloat16 (AVX512_BF16 and AMX)"),
        (["AMX"], {"ONEDNN_MAX_CPU_ISA": "avx2"}, "float32", "ONEDNN_MAX_CPU_ISA forbids the instructions"),
        (["AMX"], {"DNNL_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, "float32", "DNNL_MAX_CPU_ISA forbids the instructions"),
        (["AMX"], {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "bfloat16", "AMX"),
        (["AMX"], {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, "bfloat16", "AMX"),
        (["AMX"], {"kernels": "AVX2"}, "float32", "ATEN_CPU_CAPABILITY forbids the instructions"),
        ([], {"processor": "aarch64", "arm": True}, "bfloat16", "this processor multiplies bfloat16"),
        ([], {"processor": "arm64", "arm": False}, "float32", "this processor has no instructions for bfloat16"),
    ],
)
def test_a_processor_takes_bfloat16_only_with_instructions_for_it(machine, instructions, facts, name, reason):
    machine(*instructions, **facts)
    found = best_precision("cpu")
    assert found.name == name
    assert reason in found.reason


@pytest.mark.parametrize(("generation", "name"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_a_card_takes_it_from_ampere_on(monkeypatch, generation, name):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
    monkeypatch.setattr(torch.version, "hip", None)
    assert best_precision("cuda").name == name


def test_what_the_processor_says_is_asked():
    assert set(precision._instructions()) == {"AVX512_BF16", "AMX"}
    assert precision._on_arm() in (True, False)


@pytest.mark.parametrize(("instructions", "name"), [([], "float32"), (["AMX"], "bfloat16")])
def test_a_run_with_auto_says_what_it_took_and_why(
    machine, instructions, name, tmp_path, conversations, tiny_model, tiny_tokenizer
):
    machine(*instructions)
    save_model(tiny_model, tiny_tokenizer, tmp_path / "model")
    save_conversations(conversations, tmp_path / "rows.jsonl", format="openai")
    config = FinetuneConfig.from_dict(
        {
            "model": {"name": str(tmp_path / "model"), "device": "cpu"},
            "data": {"source": str(tmp_path / "rows.jsonl"), "validation_share": 0},
            "train": {"max_steps": 1, "batch_size": 1, "precision": "auto"},
        }
    )
    run = train(config, tmp_path / "run")
    summary = json.loads((run.folder / SUMMARY).read_text(encoding="utf-8"))
    assert summary["precision"] == name
    assert summary["precision_reason"] == best_precision("cpu").reason
    card = (run.folder / CARD).read_text(encoding="utf-8")
    assert f"| computed in | {name}, chosen by itself: this processor" in card


def test_tokens_that_a_model_rules_out_hide_no_difference():
    """They are given the lowest number, beside which every other difference would look small."""
    right = torch.tensor([[1.0, 2.0, 4.0, 3.0, torch.finfo(torch.float16).min]])
    wrong = right + torch.tensor([[0.0, 1.0, -1.0, 0.5, 0.0]])
    assert not agree(wrong, right, rounding=0.01)
    assert agree(right, right, rounding=0.01)
