// Which token may come next, at any place of a text.

import { AskError } from "./generate.js";
import { softmax } from "./layers.js";
import { likeliest } from "./sampling.js";

/**
 * Read a text up to one of its tokens: its last row of logits says how well each token of the vocabulary would come next.
 *
 * @param {number} [position] that token's place, from 0; default: the last
 * @param {number} [count] how many of the likeliest
 * @returns {{tokens: string[], position: number, likeliest: {text: string, share: number}[]}} the tokens of the text, and
 *   the likeliest next ones with their probabilities
 */
export function expected({ model, tokenizer, about, cache }, text, position, count = 10) {
  const ids = tokenizer.encode(text);
  if (!ids.length) throw new AskError("There is no token in this text: write something.");
  if (ids.length > about.context) throw new AskError(`The text is too long: it has ${ids.length} tokens, and ${about.name} sees ${about.context} at once. Shorten it.`);
  const at = position ?? ids.length - 1;
  const before = ids.slice(0, at + 1); // the causal mask hides later tokens: leaving them out changes nothing
  cache.keepCommon(before);
  const reading = model.read(before.slice(cache.ids.length), cache);
  let step;
  while (!(step = reading.next()).done);
  const probabilities = softmax(step.value);
  const next = likeliest(probabilities, count).map((id) => ({ text: tokenizer.show(id), share: probabilities[id] }));
  return { tokens: ids.map((id) => tokenizer.show(id)), position: at, likeliest: next };
}
