// From scores to the next token.

import { softmax } from "./layers.js";

/** Numbers below 1 that only depend on the seed (mulberry32, by Tommy Ettinger). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The likeliest token at temperature 0, and else one that is drawn from the likeliest `topK` that fill `topP`. */
export function choose(scores, { temperature, topK, topP }, random) {
  if (!temperature) return scores.reduce((best, score, id) => (score > scores[best] ? id : best), 0);
  const shares = softmax(scores.map((score) => score / temperature));
  const ids = likeliest(shares, topK || shares.length);
  let total = ids.reduce((sum, id) => sum + shares[id], 0);
  if (topP < 1) {
    let filled = 0;
    const enough = ids.findIndex((id) => (filled += shares[id] / total) >= topP);
    if (enough >= 0) ids.length = enough + 1;
    total = ids.reduce((sum, id) => sum + shares[id], 0);
  }
  let left = random() * total;
  return ids.find((id) => (left -= shares[id]) < 0) ?? ids.at(-1);
}

/** Ids with the largest numbers, the largest first. */
export function likeliest(numbers, count) {
  if (count > 100) return Array.from(numbers, (_, id) => id).sort((a, b) => numbers[b] - numbers[a]).slice(0, count);
  const best = []; // a few are found in one pass, which sorting a whole vocabulary for each token is not
  numbers.forEach((number, id) => {
    if (best.length === count && number <= numbers[best.at(-1)]) return;
    let place = best.length;
    while (place && numbers[best[place - 1]] < number) place--;
    best.splice(place, 0, id);
    best.length = Math.min(best.length, count);
  });
  return best;
}
