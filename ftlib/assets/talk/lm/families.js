// The blocks of the two families: what one layer does with the vectors of `count` tokens.
//
// Both read the tokens' own vectors, let attention gather from earlier tokens, and add what a feed-forward makes of it.

import { attend, gelu, layerNorm, rmsNorm, rotate, silu } from "./layers.js";

/** GPT-NeoX (Pythia, nano): one matrix for queries, keys and values; attention and feed-forward side by side. */
export const gpt_neox = {
  embedding: "gpt_neox.embed_in.weight",
  output: "embed_out.weight",
  shape(config) {
    const rope = config.rope_parameters ?? { partial_rotary_factor: config.rotary_pct, rope_theta: config.rotary_emb_base };
    const size = config.hidden_size / config.num_attention_heads;
    const turned = Math.floor(size * rope.partial_rotary_factor);
    return { heads: config.num_attention_heads, groups: config.num_attention_heads, size, turned, theta: rope.rope_theta };
  },
  norm: (model, x) => norm(model, x, "gpt_neox.final_layer_norm"),
  block(model, x, layer, cache, place) {
    const name = `gpt_neox.layers.${layer}`, { count } = place;
    const joined = model.linear(`${name}.attention.query_key_value`).apply(norm(model, x, `${name}.input_layernorm`), count);
    const [queries, keys, values] = [0, 1, 2].map((part) => part_of(joined, part, place));
    rotate(queries, place);
    rotate(keys, { ...place, heads: place.groups });
    const gathered = attend(queries, cache.append(layer, keys, values), place);
    const attention = model.linear(`${name}.attention.dense`).apply(gathered, count);
    const between = model.linear(`${name}.mlp.dense_h_to_4h`).apply(norm(model, x, `${name}.post_attention_layernorm`), count);
    const forward = model.linear(`${name}.mlp.dense_4h_to_h`).apply(between.map(gelu), count);
    return x.map((value, i) => value + attention[i] + forward[i]);
  },
};

const norm = (model, x, name) =>
  layerNorm(x, model.vector(`${name}.weight`), model.vector(`${name}.bias`), model.config.layer_norm_eps);

/** The joined matrix gives, head by head, a query, a key and a value. */
function part_of(joined, part, { heads, size }) {
  const out = new Float64Array(joined.length / 3);
  for (let h = 0; h < out.length / size; h++) {
    out.set(joined.subarray((3 * h + part) * size, (3 * h + part + 1) * size), h * size);
  }
  return out;
}

/** Llama (SmolLM2): queries share heads of keys and values; the feed-forward works on what attention has added. */
export const llama = {
  embedding: "model.embed_tokens.weight",
  output: "lm_head.weight", // where there is none, it is the embedding table
  shape(config) {
    const size = config.head_dim ?? config.hidden_size / config.num_attention_heads;
    const theta = config.rope_theta ?? config.rope_parameters.rope_theta;
    return { heads: config.num_attention_heads, groups: config.num_key_value_heads, size, turned: size, theta };
  },
  norm: (model, x) => rms(model, x, "model.norm"),
  block(model, x, layer, cache, place) {
    const name = `model.layers.${layer}`, { count } = place;
    const read = rms(model, x, `${name}.input_layernorm`);
    const [queries, keys, values] = ["q", "k", "v"].map((one) => model.linear(`${name}.self_attn.${one}_proj`).apply(read, count));
    rotate(queries, place);
    rotate(keys, { ...place, heads: place.groups });
    const gathered = attend(queries, cache.append(layer, keys, values), place);
    const attention = model.linear(`${name}.self_attn.o_proj`).apply(gathered, count);
    const added = x.map((value, i) => value + attention[i]);
    const again = rms(model, added, `${name}.post_attention_layernorm`);
    const [gate, up] = ["gate", "up"].map((one) => model.linear(`${name}.mlp.${one}_proj`).apply(again, count));
    const forward = model.linear(`${name}.mlp.down_proj`).apply(gate.map((value, i) => silu(value) * up[i]), count);
    return added.map((value, i) => value + forward[i]);
  },
};

const rms = (model, x, name) => rmsNorm(x, model.vector(`${name}.weight`), model.config.rms_norm_eps);
