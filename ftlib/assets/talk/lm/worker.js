// The model in a thread of its own, so that the page stays responsive.
// It hears {kind: "load" | "ask" | "stop" | "expect"}.

import { AskError, answer } from "./generate.js";
import { expected } from "./expect.js";
import { getFile, inPlainWords } from "./download.js";
import { Cache, Model } from "./model.js";
import { Tokenizer } from "./tokenizer.js";

let loaded, isStopped;
const say = (kind, more) => postMessage({ kind, ...more });

async function load({ url, about }) {
  const start = performance.now();
  const total = about.files.reduce((sum, file) => sum + file.bytes, 0);
  let received = 0, kept = true, fromCache = true;
  const tell = {
    onProgress: (bytes) => say("progress", { received: (received += bytes), total }),
    onWait: () => say("waiting"),
  };
  const files = {};
  for (const { name, bytes, version } of about.files) {
    const file = await getFile(`${url}${name}?${version}`, bytes, tell);
    kept &&= file.kept;
    fromCache &&= file.from === "cache";
    files[name] = name.endsWith(".json") ? JSON.parse(new TextDecoder().decode(file.content)) : file.content;
  }
  const adapter = about.adapter && { config: files[`${about.adapter}/adapter_config.json`], weights: files[`${about.adapter}/adapter_model.safetensors`] };
  const config = files["config.json"];
  const tuned = new Model({ config, weights: files[about.weights], adapter });
  // Under an adapter lies the base; only a model whose weights were all trained has one beside it.
  const base = about.base?.weights ? new Model({ config, weights: files[about.base.weights] }) : tuned;
  loaded = {
    tuned: { model: tuned, about },
    base: { model: base, about: { ...about, ...about.base } },
    tokenizer: new Tokenizer(files["tokenizer.json"]),
    cache: new Cache(),
  };
  say("loaded", { seconds: (performance.now() - start) / 1000, kept, fromCache });
}

/** The model of a column with its adapter as strong as is asked, and what belongs to it. */
function side({ column, scale }) {
  const { model, about } = loaded[column === "base" ? "base" : "tuned"];
  if (loaded.last !== model || model.dial.scale !== scale) loaded.cache = new Cache(); // keys and values of another model
  model.dial.scale = scale;
  loaded.last = model;
  return { model, about, tokenizer: loaded.tokenizer, cache: loaded.cache };
}

async function ask({ id, question, settings }) {
  const one = side(settings);
  isStopped = false;
  const start = performance.now();
  let first, count = 0;
  const reason = await answer(one, question, settings, (step) => {
    first ??= performance.now();
    count = step.count;
    say("token", { id, ...step });
  }, () => isStopped);
  const end = performance.now();
  // The first token took as long as the prompt: the speed is that of those behind it.
  say("answered", { id, reason, count, seconds: (end - start) / 1000, speed: count > 1 ? (count - 1) / ((end - first) / 1000) : null });
}

onmessage = async ({ data }) => {
  try {
    if (data.kind === "load") await load(data);
    else if (data.kind === "ask") await ask(data);
    else if (data.kind === "expect") say("expected", { id: data.id, ...expected(side({ column: "base", scale: 0 }), data.text, data.position) });
    else isStopped = true;
  } catch (error) {
    say("failed", { id: data.id, message: error instanceof AskError ? error.message : inPlainWords(error) });
  }
};
