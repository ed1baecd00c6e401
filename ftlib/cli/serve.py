"""``ftlib serve``: a model behind OpenAI's protocol."""

from __future__ import annotations

import json
import threading
from typing import Annotated

import typer

from ftlib.cli import completion
from ftlib.cli.options import DeviceOption, completed_argument

EXAMPLES = (
    "ftlib serve",
    "ftlib serve runs/faq --port 8000",
    "ftlib serve nano --name my-model --json",
    "ftlib serve faq-q8_0.gguf",
)
STATUSES = {0: "served until Ctrl-C"}


def serve(
    model: Annotated[
        str,
        completed_argument(
            "MODEL", "nano, smollm2, a Hub id, the folder of a run or a model, or a GGUF file.", completion.models
        ),
    ] = "auto",
    port: Annotated[int | None, typer.Option(metavar="N", min=1, max=65535, help="Default: a free one.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What a client calls the model; default: the folder's name.")
    ] = None,
    device: DeviceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print address and name as one line of JSON.")] = False,
) -> None:
    """Serve a model on this machine, over OpenAI's protocol.

    The address is printed when it answers; Ctrl-C ends it. It listens on 127.0.0.1, asks for no key, and puts questions
    into the template that the model was trained in. The server is transformers' own, or llama.cpp's for a GGUF file.
    """
    from ftlib.cli.output import print_server
    from ftlib.hosted.server import is_gguf, local_server
    from ftlib.models.chat_model import training_template
    from ftlib.models.tokenizer import load_tokenizer

    template = None if is_gguf(model) else training_template(load_tokenizer(model), model)
    try:
        with local_server(model, template=template, name=name, port=port, device=device) as server:
            if as_json:
                typer.echo(json.dumps({"base_url": server.base_url, "model": server.model}))
            else:
                print_server(server.base_url, server.model)
            threading.Event().wait()
    except KeyboardInterrupt:
        typer.echo("The server is stopped.", err=True)
