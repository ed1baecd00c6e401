"""A GGUF file whose blocks have four bits, read by transformers and written as safetensors and a tokenizer.

It runs in a process of its own: ``python -m ftlib.models.gguf_conversion FILE FOLDER HUB_ID``. Its standard input is
a pipe whose other end the process holds that waits for it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import json
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ftlib.paths import architectures_file

WEIGHTS = "model.safetensors"
CANT_WRITE, FULL = 3, 4  # statuses of the process
_PARENT_GONE = 5
_FULL_CODES = {errno.ENOSPC, errno.EDQUOT, 112}  # the last is Windows' own


def convert(gguf: Path, folder: Path, hub_id: str) -> int:
    """Read the GGUF file and write what :func:`ftlib.load_model` loads: weights, configuration, tokenizer.

    Args:
        gguf: The file.
        folder: Is there and empty.
        hub_id: Model of the Hub whose architecture the file's is.

    Returns:
        Status of the process: 0, or another one if the folder can't be written, for a reason that stderr has;
        ``FULL`` if there is no space.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    told = json.loads(architectures_file().read_text(encoding="utf-8"))[hub_id]
    weights, texts = _weights(gguf, told), _texts(gguf, told)
    try:
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        for name, content in texts.items():
            (folder / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        sys.stderr.write(f"\n{getattr(error, 'strerror', None) or error}\n")
        return FULL if _code(error) in _FULL_CODES else CANT_WRITE
    return 0


def _code(error: Exception) -> int | None:
    """Return what the system calls an error; safetensors only writes it behind its sentence."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


def end_with_the_loader(folder: Path) -> None:
    """Let this process end as soon as the one that started it has: nobody would take what it makes.

    Whatever ends a process closes its end of a pipe, and the other end is this one's standard input.

    Args:
        folder: What was written into it so far; it is removed.
    """

    def watch() -> None:
        _wait_for_the_end_of_stdin()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(_PARENT_GONE)

    threading.Thread(target=watch, daemon=True).start()


def _wait_for_the_end_of_stdin() -> None:
    if sys.platform == "win32":  # a read that waits would hold up every library that asks what stdin is
        import _winapi
        import msvcrt

        with contextlib.suppress(OSError):
            while True:
                _winapi.PeekNamedPipe(msvcrt.get_osfhandle(0), 0)
                time.sleep(0.2)
    else:
        while os.read(0, 1):
            pass


def _weights(gguf: Path, architecture: dict[str, Any]) -> dict[str, Any]:
    """Read the weights, each four-bit block spread to float32 numbers; the tied output layer counts once."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from ftlib.compat.installed import dtype_argument, gguf_file_arguments

    # transformers asks for the same table of names once for each of 400 modules, which takes as long as all the rest.
    package: Any = importlib.import_module("gguf")
    package.get_tensor_name_map = functools.cache(package.get_tensor_name_map)
    # The configuration is given: reading it from the file takes longer than reading the weights.
    config = AutoConfig.for_model(**architecture)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        config=config,
        output_loading_info=True,
        **gguf_file_arguments(gguf.name),
        **dtype_argument(torch.float32),
    )
    model, told = loaded
    if missing := set(told["missing_keys"]) - {"lm_head.weight"}:
        raise ValueError(f"weights are missing: {', '.join(sorted(missing)[:3])}")
    return {name: weight.detach().contiguous() for name, weight in model.named_parameters()}


def _texts(gguf: Path, architecture: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return everything but the weights, as JSON that transformers has read since 4.41."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(gguf.parent, gguf_file=gguf.name)
    backend = tokenizer.backend_tokenizer
    # The conversion forgets that digits are split one by one, before the rest is: "  12" would end as " 12" does.
    backend.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    rules = json.loads(backend.to_str())
    rules["model"]["merges"] = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in rules["model"]["merges"]
    ]  # pairs are newer than 4.41
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: str(getattr(tokenizer, name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")},
        "model_max_length": architecture["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "chat_template": tokenizer.chat_template,
    }
    ends = {name: architecture[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {
        "config.json": {"architectures": ["LlamaForCausalLM"], **architecture},
        "generation_config.json": ends,
        "tokenizer.json": rules,
        "tokenizer_config.json": settings,
    }


if __name__ == "__main__":
    end_with_the_loader(Path(sys.argv[2]))
    sys.exit(convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
