"""Models that run inside a page: a small site that serves them, and random adapters that change what they say."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from contextlib import contextmanager

import torch

from ftlib.export.page_model import publish
from ftlib.models.loading import load_model, save_quietly
from ftlib.models.trainable import add_lora
from ftlib.paths import talk_folder

RUNTIME = talk_folder() / "lm"
# Loads a model in the worker and asks it; "told" has every message that the worker sends.
ASK = """async ({about, questions, settings}) => {
  const worker = new Worker("/lm/worker.js", {type: "module"});
  const told = [];
  const until = (kind) => new Promise((done, failed) => {
    worker.onerror = (event) => failed(new Error(event.message ?? "the worker can't be fetched"));
    worker.onmessage = ({data}) => {
      told.push(data);
      if (data.kind === "failed") failed(new Error(data.message));
      if (data.kind === kind) done(data);
    };
  });
  worker.postMessage({kind: "load", url: new URL(`/${about.name}/`, location).href, about});
  await until("loaded");
  const answers = [];
  for (const set of settings) {
    for (const question of questions) {
      const from = told.length;
      worker.postMessage({kind: "ask", id: 0, question, settings: {temperature: 0, topK: 0, topP: 1, seed: 0, ...set}});
      await until("answered");
      answers.push(told.slice(from).filter((one) => one.kind === "token").at(-1)?.text ?? "");
    }
  }
  worker.terminate();
  return answers;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def serving(folder):
    """Serve a folder on this computer; give its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def random_adapter(name, folder, *, size):
    """Write a LoRA adapter of random numbers; return the model that it lies on, and the tokenizer."""
    model, tokenizer = load_model(name, device="cpu")
    model = add_lora(model, rank=2, targets="blocks", seed=1).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight_name, weight in model.named_parameters():
            if "lora_B" in weight_name:
                weight.copy_(size * torch.randn(weight.shape, generator=generator))
    save_quietly(model, folder)
    return model, tokenizer


def make_site(folder, **adapters):
    """Put the runtime and models into a folder, each under its name; return what the page must know of each."""
    shutil.copytree(RUNTIME, folder / "lm")
    (folder / "index.html").write_text("<!doctype html><title>Models</title>", encoding="utf-8")
    abouts = {name: publish(name, folder / name, tuned=adapter) for name, adapter in adapters.items()}
    (folder / "abouts.json").write_text(json.dumps(abouts), encoding="utf-8")
    return abouts


def opened(browser, url):
    page = browser.new_page()
    page.goto(url)
    return page
