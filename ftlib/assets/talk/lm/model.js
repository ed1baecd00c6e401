// A causal language model: token ids in, a score for each possible next token out.

import * as families from "./families.js";
import { Linear, embed } from "./layers.js";
import { FileError, readGguf, readSafetensors } from "./tensors.js";

const AT_ONCE = 16; // tokens of a prompt: enough to make use of each unpacked row, few enough to stop in between

/** Keys and values of the tokens that were read, for each layer; it grows as they come. */
export class Cache {
  ids = [];
  layers = [];

  append(layer, keys, values) {
    const kept = (this.layers[layer] ??= { keys: new Float32Array(), values: new Float32Array() });
    const at = (keys.length / this.count) * this.ids.length;
    if (kept.keys.length < at + keys.length) {
      for (const name of ["keys", "values"]) {
        const larger = new Float32Array(2 * (at + keys.length));
        larger.set(kept[name]);
        kept[name] = larger;
      }
    }
    kept.keys.set(keys, at);
    kept.values.set(values, at);
    return kept;
  }

  /** Forget all but what a prompt begins with too; its last token is read anew, since its scores are wanted. */
  keepCommon(ids) {
    let same = 0;
    while (same < ids.length - 1 && ids[same] === this.ids[same]) same++;
    this.ids.length = Math.min(this.ids.length, same);
  }
}

export class Model {
  dial = { scale: 1 };

  /** @param {{config: object, weights: Uint8Array, adapter?: {config: object, weights: Uint8Array}}} files */
  constructor({ config, weights, adapter }) {
    this.config = config;
    this.family = families[config.model_type];
    if (!this.family) throw new FileError(`models of the type ${config.model_type} can't be computed here`);
    this.shape = this.family.shape(config);
    const isGguf = weights[0] === 0x47 && weights[1] === 0x47 && weights[2] === 0x55; // "GGUF"
    this.tensors = isGguf ? readGguf(weights, this.shape) : readSafetensors(weights);
    this.layers = new Map();
    if (adapter) this.putOn(adapter);
  }

  tensor(name) {
    const found = this.tensors.get(name);
    if (!found) throw new FileError(`there is no ${name} in it`);
    return found;
  }

  vector(name) {
    return this.tensor(name);
  }

  linear(name) {
    if (!this.layers.has(name)) {
      const layer = new Linear(this.tensor(`${name}.weight`), this.tensors.get(`${name}.bias`), this.dial);
      this.layers.set(name, layer);
    }
    return this.layers.get(name);
  }

  /** Lay a LoRA adapter of PEFT over the layers that it names. */
  putOn({ config, weights }) {
    const odd = ["use_dora", "alora_invocation_tokens"].filter((name) => config[name]);
    if (config.peft_type !== "LORA" || odd.length) throw new FileError("it is no plain LoRA adapter");
    const tensors = readSafetensors(weights);
    for (const [name, down] of tensors) {
      const [, layer, side] = name.match(/^base_model\.model\.(.*)\.lora_([AB])\.weight$/) ?? [];
      if (!layer) throw new FileError(`${name} is no part of a plain LoRA adapter`);
      if (side === "B") continue;
      const up = tensors.get(name.replace("lora_A", "lora_B"));
      const alpha = matching(config.alpha_pattern, layer) ?? config.lora_alpha;
      const scaling = alpha / (config.use_rslora ? Math.sqrt(down.rows) : down.rows);
      this.linear(layer).adapter = { down, up, scaling };
    }
  }

  /** Read ids behind those of the cache, and return what the last layer says of the last one: (vocabulary,). */
  *read(ids, cache) {
    for (let from = 0; from < ids.length; from += AT_ONCE) {
      const some = ids.slice(from, from + AT_ONCE);
      const place = { ...this.shape, start: cache.ids.length, count: some.length };
      cache.count = some.length;
      let x = embed(this.tensor(this.family.embedding), some);
      for (let layer = 0; layer < this.config.num_hidden_layers; layer++) x = this.family.block(this, x, layer, cache, place);
      cache.ids.push(...some);
      if (from + AT_ONCE < ids.length) yield from + AT_ONCE;
      else {
        const last = this.family.norm(this, x.subarray(x.length - this.config.hidden_size));
        return (this.tensors.get(this.family.output) ?? this.tensor(this.family.embedding)).times(last);
      }
    }
  }
}

const matching = (patterns, layer) =>
  Object.entries(patterns ?? {}).find(([pattern]) => new RegExp(`(^|\\.)(${pattern})$`).test(layer))?.[1];
