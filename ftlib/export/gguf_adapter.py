"""A LoRA adapter alone as a GGUF file, to be loaded beside that of its base model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ftlib.errors import ExportError
from ftlib.export.gguf_families import Array, family_of
from ftlib.export.gguf_file import gguf_package, tensor_name, write_out
from ftlib.export.targets import export_name, new_file, new_place
from ftlib.models.chat_model import training_template
from ftlib.models.loading import load_adapter
from ftlib.models.names import base_of_adapter, resolve_name
from ftlib.models.target_logits import adapted_model
from ftlib.models.tokenizer import load_tokenizer
from ftlib.text.chat_template import to_jinja

if TYPE_CHECKING:
    from peft import PeftModel

_PREFIX = "base_model.model."


class _Pair(NamedTuple):
    """The two matrices of one adapted layer: A (rank, in), B (out, rank), and what their product is multiplied by."""

    name: str
    a: Array
    b: Array
    scaling: float

    @property
    def alpha(self) -> float:
        """What llama.cpp divides by the rank to have the scale: for rsLoRA, alpha times the root of the rank."""
        return self.scaling * int(self.a.shape[0])


def export_adapter(name: str, file: str | Path) -> Path:
    """Write a LoRA adapter into a GGUF file that llama.cpp loads beside the base model's (``--lora``).

    Such a file holds matrices and no template: only an adapter that was trained in its base model's own template is
    written.

    Args:
        name: Of the run, the checkpoint or the adapter.
        file: New; it appears whole or not at all.

    Returns:
        The file.

    Raises:
        ExportError: It is no LoRA adapter that llama.cpp can add, or has a template of its own; or the file can't be
            written.
        MissingExtraError: The package ``gguf`` isn't installed.
        ModelError: There is no such model.
    """
    gguf_package()
    place = new_place(file)
    folder = resolve_name(name)
    base = base_of_adapter(Path(folder))
    if base is None:
        raise ExportError(f"{name}: holds no adapter: leave --adapter-only out, and the whole model is written")
    _check_template(name, base)
    model = load_adapter(folder, base, device="cpu")
    _check_kind(model, name, base)
    pairs = list(_pairs(model))
    with new_file(place) as partial:
        _write(model, pairs, partial, export_name(name))
    return place


def _check_template(name: str, base: str) -> None:
    """Refuse an adapter whose template the file can't carry."""
    programs = []
    for one in (name, base):
        tokenizer = load_tokenizer(one)
        programs.append(to_jinja(training_template(tokenizer, one), tokenizer))
    if programs[0] != programs[1]:
        raise ExportError(
            f"{name}: it was trained in another template than {base}, and an adapter's file carries none: leave "
            "--adapter-only out, and the whole model is written with its template"
        )


def _pairs(model: PeftModel) -> Iterator[_Pair]:
    from peft.tuners.lora import LoraLayer

    layers: dict[str, Any] = {path: one for path, one in model.named_modules() if isinstance(one, LoraLayer)}
    for path, layer in layers.items():
        for key in layer.lora_A:
            a, b = (matrices[key].weight.detach().float().numpy() for matrices in (layer.lora_A, layer.lora_B))
            yield _Pair(path.removeprefix(_PREFIX), a, b, float(layer.scaling[key]))


def _check_kind(model: PeftModel, name: str, base: str) -> None:
    """Refuse an adapter that is more than pairs of matrices."""
    from peft import PeftType

    (config,) = model.peft_config.values()
    grown = any(".modules_to_save." in key or "lora_embedding" in key for key, _ in model.named_parameters())
    kind = PeftType(config.peft_type)
    faults = {
        f"is of the type {kind.value}": kind != PeftType.LORA,
        "uses DoRA": getattr(config, "use_dora", False),
        "trains biases": getattr(config, "bias", "none") != "none",
        "changes embeddings or whole modules": grown or len(load_tokenizer(base)) != len(load_tokenizer(name)),
    }
    if found := [what for what, is_so in faults.items() if is_so]:
        raise ExportError(
            f"{name}: the adapter {' and '.join(found)}, which llama.cpp can't add: leave --adapter-only out, and the "
            "whole model is written"
        )


def _write(model: PeftModel, pairs: list[_Pair], file: Path, name: str) -> None:
    gguf, plain = gguf_package(), adapted_model(model)
    family, config = family_of(plain), plain.config
    writer = gguf.GGUFWriter(file, family.architecture)
    writer.add_name(name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    alpha = pairs[0].alpha
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for pair in pairs:
        target = tensor_name(f"{pair.name}.weight", family, config.num_hidden_layers)
        # The file has one alpha; where layers differ, the rest goes into B, whose rows are its layer's.
        b = family.reorder(pair.name, pair.b, config) * (pair.alpha / alpha)
        writer.add_tensor(f"{target}.lora_a", pair.a)
        writer.add_tensor(f"{target}.lora_b", b.astype("float32"))
    write_out(writer)
