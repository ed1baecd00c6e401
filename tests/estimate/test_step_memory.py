import copy
import sys

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoConfig, GPTNeoXConfig, LlamaConfig
from transformers.optimization import Adafactor

from benchmarks.memory import in_a_process
from ftlib.compat.installed import enable_checkpointing
from ftlib.errors import ModelError
from ftlib.estimate.estimation import estimate
from ftlib.estimate.memory_tracker import MemoryTracker
from ftlib.evaluation.metrics import summed_target_loss
from ftlib.models.trainable import add_lora
from ftlib.muon import muon_and_adamw
from tests.families import families, tiny_causal

SIZES = {"vocab_size": 300, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0}
WIDTHS = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
LOCAL = [[["global", "local"], 1]]
CONFIGS = {
    "gpt_neox": GPTNeoXConfig(**SIZES, **WIDTHS),
    "gpt2": GPT2Config(**SIZES, n_embd=32, n_layer=3, n_head=4),
    "gpt_neo": GPTNeoConfig(**SIZES, hidden_size=32, num_layers=2, num_heads=4, attention_types=LOCAL, window_size=16),
    "llama": LlamaConfig(**SIZES, **WIDTHS, num_key_value_heads=2),
}


def test_the_ledger_counts_what_exists_and_forgets_what_goes():
    with MemoryTracker(vocabulary=50) as tracker:
        first = torch.zeros(100)
        second = torch.zeros(25, dtype=torch.float64)
        assert tracker.peak.total == tracker.peak.activations == 600
        rows = first.view(10, 10)[:5]  # shows the same bytes
        assert tracker.peak.total == 600
        del first, rows
        tracker.start_measuring()
        assert tracker.peak.total == 200
        third = torch.zeros(2, 50)
        assert (tracker.peak.logits, tracker.peak.activations) == (400, 200)
        tracker.label(second, "weights")
        tracker.start_measuring()
        assert (tracker.peak.weights, tracker.peak.logits, tracker.peak.activations) == (200, 400, 0)
        del third
        _ = torch.ones(10)
    assert (tracker.peak.total, tracker.most.logits, tracker.most.activations) == (600, 400, 40)


def test_the_ledger_sees_what_autograd_keeps():
    layer = nn.Linear(8, 8, bias=False)
    inputs = torch.ones(4, 8)
    with MemoryTracker(vocabulary=1000) as tracker:
        tracker.label(layer.weight, "weights")
        tracker.label(inputs, "activations")
        hidden = layer(inputs).relu()  # the layer keeps its input, relu its output
        loss = hidden.sum()
        del hidden
        tracker.start_measuring()
        assert tracker.peak.activations == 2 * 4 * 8 * 4 + 4
        loss.backward()
    assert tracker.peak.weights == 8 * 8 * 4


def build(config, dtype, gradient_checkpointing, lora_rank, targets):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    model.to(getattr(torch, dtype)).train()
    model.loss_type = "ForCausalLM"
    if lora_rank:
        model = add_lora(model, rank=lora_rank, targets=targets).get_base_model()
    if gradient_checkpointing:
        enable_checkpointing(model)
    return model


def make_optimizers(model, name):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "muon":
        return muon_and_adamw(model, matrix_learning_rate=1e-3, other_learning_rate=1e-4, weight_decay=0.0)
    if name == "adafactor":
        return [Adafactor(trained, lr=1e-4, scale_parameter=False, relative_step=False)]
    return [torch.optim.AdamW(trained, lr=1e-4, fused=True)]


def measure(config, batch_size, length, **options):
    """Take two real steps on the processor, count the second."""
    lora = options.get("lora_rank"), options.get("lora_targets", "attention")
    model = build(config, options.get("dtype", "float32"), options.get("gradient_checkpointing"), *lora)
    optimizers = make_optimizers(model, options.get("optimizer"))
    batch = {name: torch.ones(batch_size, length, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    if options.get("padded"):
        batch["attention_mask"][0, -2:] = 0
    labels = batch["input_ids"].clone()
    labels[:, 1 : length - round(options.get("target_share", 1.0) * (length - 1))] = -100
    tracker = MemoryTracker(config.vocab_size)
    for _ in range(2):
        for tensor in [*model.parameters(), *batch.values(), *kept_by(optimizers)]:
            tracker.label(tensor, "weights")
        tracker.start_measuring()
        with tracker:
            for _ in range(options.get("accumulation_steps", 1)):
                with torch.autocast("cpu", torch.bfloat16, enabled=options.get("precision") == "bfloat16"):
                    if "target_share" in options:
                        loss = summed_target_loss(model, {**batch, "labels": labels})[0]
                    else:
                        loss = model(**batch, labels=labels, use_cache=False).loss
                loss.backward()
                del loss
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    return tracker.peak.total


def kept_by(optimizers):
    return [
        value
        for one in optimizers
        for state in one.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]


# peft 0.21 asks for it by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padded": True, "accumulation_steps": 2},
        {"gradient_checkpointing": True, "target_share": 0.5},
        {"dtype": "bfloat16"},
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "gradient_checkpointing": True},
        {"lora_rank": 4},
        {"lora_rank": 4, "lora_targets": "blocks", "dtype": "bfloat16"},
        {"lora_rank": 4, "dtype": "bfloat16", "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_a_step_without_numbers_takes_what_a_real_one_takes(architecture, options):
    config = CONFIGS[architecture]
    predicted = estimate(config, batch_size=8, length=48, **options, device="cpu").peak.total
    assert predicted == pytest.approx(measure(config, 8, 48, **options), rel=0.01)


def test_more_of_anything_takes_more_and_each_remedy_takes_less():
    config = CONFIGS["gpt_neox"]

    def peak(**options):
        return estimate(config, **{"batch_size": 8, "length": 32, **options}).peak.total

    base = peak()
    for more in ({"batch_size": 9}, {"length": 33}, {"padded": True}, {"accumulation_steps": 2}):
        assert peak(**more) > base, more
    for less in (
        {"gradient_checkpointing": True},
        {"dtype": "bfloat16"},
        {"precision": "bfloat16"},
        {"lora_rank": 2},
        {"optimizer": "adafactor"},
        {"optimizer": "sgd"},
        {"optimizer": "muon"},
        {"target_share": 0.5},
        {"frozen": ["*.embed_in.*", "*.layers.0.*"]},
    ):
        assert peak(**less) < base, less


def test_what_an_optimizer_keeps():
    small = {"batch_size": 1, "length": 2}
    need = {name: estimate(CONFIGS["gpt_neox"], optimizer=name, **small) for name in ("adamw", "sgd", "muon")}
    weights = need["adamw"].parameters
    matrices = 3 * (4 * 32 * 32 + 2 * 32 * 96)
    assert need["adamw"].optimizer_bytes == 2 * 4 * weights
    assert need["sgd"].optimizer_bytes == 0
    assert 4 * (2 * weights - matrices) < need["muon"].optimizer_bytes < 2 * 4 * weights


def test_dropout_takes_a_byte_on_a_gpu_and_a_factor_on_the_processor():
    peaks = {
        device: estimate(CONFIGS["gpt2"], batch_size=8, length=64, device=device).peak for device in ("cpu", "cuda")
    }
    assert peaks["cuda"].activations < 0.7 * peaks["cpu"].activations
    assert peaks["cuda"].logits == peaks["cpu"].logits


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "case",
    [
        {"model": "nano", "batch_size": 8, "length": 128},
        {"model": "nano", "batch_size": 16, "length": 128, "lora_rank": 8, "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_the_system_agrees_with_the_estimate(case):
    arguments = {name: value for name, value in case.items() if name != "model"}
    predicted = estimate(case["model"], **arguments, device="cpu").peak.total
    assert predicted == pytest.approx(in_a_process(case, "process"), rel=0.1)


NOT_ESTIMATED = {"diffllama", "jetmoe", "longcat_flash", "xlm", "xlnet"}
"""Families whose step depends on numbers, so that it can't be run without any."""


@pytest.mark.parametrize("family", families())
def test_every_family_is_estimated_as_it_is_or_refused_by_its_name(family):
    """Real weights, activations, gradients and optimizer state of a tiny model, within 3 %."""
    model = tiny_causal(family)
    if family in NOT_ESTIMATED:
        with pytest.raises(ModelError, match=rf"the family '{family}' \({type(model).__name__}\) can't be estimated"):
            estimate(model.config, batch_size=2, length=16)
        return
    need = estimate(copy.deepcopy(model.config), batch_size=2, length=16, device="cpu")
    assert need.parameters == sum(weight.numel() for weight in model.parameters())
    assert need.weight_bytes == sum(weight.nbytes for weight in model.parameters())
    assert need.peak.total == pytest.approx(measure(model.config, 2, 16), rel=0.03)


MIXTURES = ["mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3", "granitemoe", "olmoe"]
OTHERS = ["mamba", "bloom", "falcon", "gemma3_text", "opt", "phi3"]


@pytest.mark.filterwarnings("ignore::ftlib.errors.AdapterWarning")
@pytest.mark.parametrize("family", [*MIXTURES, *OTHERS])
@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "bfloat16"},
        {"precision": "bfloat16"},
        {"lora_rank": 2, "lora_targets": "blocks"},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_remedies_are_estimated_for_mixtures_and_states_as_well(family, options):
    config = tiny_causal(family).config
    if "lora_rank" in options and family == "mamba":
        with pytest.raises(ModelError, match="incompatible with Mamba"):
            estimate(config, batch_size=2, length=16, **options)
        return
    need = estimate(copy.deepcopy(config), batch_size=2, length=16, **options, device="cpu")
    assert need.peak.total == pytest.approx(measure(config, 2, 16, **options), rel=0.05)
