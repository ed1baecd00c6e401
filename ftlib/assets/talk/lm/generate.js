// The loop that writes an answer: read, choose, append, until the model ends it.

import { softmax } from "./layers.js";
import { choose, likeliest, randomFrom } from "./sampling.js";

export class AskError extends Error {}

/** Let messages in: a worker hears "stop" only while it computes nothing. */
const pause = (() => {
  const { port1, port2 } = new MessageChannel();
  const waiting = [];
  port1.onmessage = () => waiting.shift()();
  return () => new Promise((go) => {
    waiting.push(go);
    port2.postMessage(0);
  });
})();

const EDGE = "[\\p{White_Space}\\x1c-\\x1f]+";
const strip = (text) => text.replace(new RegExp(`^${EDGE}|${EDGE}$`, "gu"), "");

/** Token ids of a question in the template that training used; the question's words can't imitate the template's markup. */
export function promptOf(tokenizer, [before, after], question) {
  const markup = { isMarkup: true };
  return [...tokenizer.encode(before, markup), ...tokenizer.encode(question), ...tokenizer.encode(after, markup)];
}

/**
 * Answer a question. After each token `told` gets the text so far, without what a later token could still change, the
 * token, and the likeliest ones in its place with their probabilities.
 *
 * @returns why it ended: "end" (the model did), "length" or "stopped".
 */
export async function answer({ model, tokenizer, about, cache }, question, settings, told, isStopped) {
  const prompt = promptOf(tokenizer, about.prompt, question);
  const room = about.context - prompt.length;
  if (room < 1) throw new AskError(`The question is too long: with its template it has ${prompt.length} tokens, and ${about.name} sees ${about.context} at once, its answer included. Shorten it.`);
  const random = randomFrom(settings.seed);
  const written = [];
  cache.keepCommon(prompt);
  let unread = prompt.slice(cache.ids.length);
  for (let left = Math.min(room, settings.maxNewTokens); left > 0; left--) {
    const reading = model.read(unread, cache);
    let step;
    while (!(step = reading.next()).done) {
      await pause();
      if (isStopped()) return "stopped";
    }
    const id = choose(step.value, settings, random);
    if (about.ends.includes(id)) return "end";
    written.push(id);
    const shares = softmax(step.value);
    const others = likeliest(shares, 5).map((one) => ({ text: tokenizer.show(one), share: shares[one] }));
    const text = tokenizer.decode(written);
    told({ text: shown(text, about.endMarker), token: tokenizer.show(id), share: shares[id], others, count: written.length });
    if (about.endMarker && text.includes(about.endMarker)) return "end";
    await pause();
    if (isStopped()) return "stopped";
    unread = [id];
  }
  return "length";
}

/** What stands in front of the template's end marker, or of a beginning of it, and of half a character. */
function shown(text, marker) {
  if (marker && text.includes(marker)) return strip(text.split(marker)[0]);
  for (let n = marker.length; n > 0; n--) if (text.endsWith(marker.slice(0, n))) return strip(text.slice(0, -n));
  return strip(text);
}
