// What a transformer is made of, each piece for `count` tokens whose vectors lie one behind the other.

import { dot } from "./matrices.js";

/** A layer of weights, with the low-rank adapter that may lie on it: W x + b + scale * B (A x). */
export class Linear {
  constructor(weight, bias, dial) {
    Object.assign(this, { weight, bias, dial, adapter: null });
  }

  apply(x, count) {
    const out = this.weight.times(x, count);
    if (this.bias) for (let i = 0; i < out.length; i++) out[i] += this.bias[i % this.bias.length];
    if (this.adapter && this.dial.scale) {
      const { down, up, scaling } = this.adapter;
      const change = up.times(down.times(x, count), count);
      for (let i = 0; i < out.length; i++) out[i] += this.dial.scale * scaling * change[i];
    }
    return out;
  }
}

/** The rows of the embedding table that belong to token ids. */
export function embed(table, ids) {
  const out = new Float64Array(ids.length * table.columns);
  ids.forEach((id, t) => table.row(id, out.subarray(t * table.columns, (t + 1) * table.columns)));
  return out;
}

/** Each vector with mean 0 and variance 1, then scaled and shifted as was learnt. */
export function layerNorm(x, weight, bias, epsilon) {
  const out = new Float64Array(x.length), width = weight.length;
  for (let at = 0; at < x.length; at += width) {
    let mean = 0, variance = 0;
    for (let i = 0; i < width; i++) mean += x[at + i] / width;
    for (let i = 0; i < width; i++) variance += (x[at + i] - mean) ** 2 / width;
    const shrink = 1 / Math.sqrt(variance + epsilon);
    for (let i = 0; i < width; i++) out[at + i] = (x[at + i] - mean) * shrink * weight[i] + bias[i];
  }
  return out;
}

/** Each vector with mean square 1, then scaled as was learnt. */
export function rmsNorm(x, weight, epsilon) {
  const out = new Float64Array(x.length), width = weight.length;
  for (let at = 0; at < x.length; at += width) {
    const shrink = 1 / Math.sqrt(dot(x, at, x, at, width) / width + epsilon);
    for (let i = 0; i < width; i++) out[at + i] = x[at + i] * shrink * weight[i];
  }
  return out;
}

/** Rotary positions: turn pairs of numbers, half of `turned` apart, by an angle that grows with the position. */
export function rotate(x, { start, count, heads, size, turned, theta }) {
  const half = turned / 2;
  for (let t = 0; t < count; t++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround((start + t) * Math.fround(theta ** (-i / half))); // float32, as where it was trained
      const cos = Math.cos(angle), sin = Math.sin(angle);
      for (let h = 0; h < heads; h++) {
        const at = (t * heads + h) * size + i;
        const a = x[at], b = x[at + half];
        x[at] = a * cos - b * sin;
        x[at + half] = b * cos + a * sin;
      }
    }
  }
}

/**
 * Each token asks all tokens up to itself: scores of its query with their keys, softmax, weighted sum of their values.
 * With fewer heads of keys and values (`groups`) than of queries, neighbouring queries share one.
 */
export function attend(queries, { keys, values }, { start, count, heads, groups, size }) {
  const out = new Float64Array(queries.length), width = groups * size;
  const scores = new Float64Array(start + count);
  for (let t = 0; t < count; t++) {
    const seen = start + t + 1;
    for (let h = 0; h < heads; h++) {
      const query = (t * heads + h) * size;
      const group = Math.floor((h * groups) / heads) * size;
      for (let p = 0; p < seen; p++) scores[p] = dot(keys, p * width + group, queries, query, size) / Math.sqrt(size);
      softmax(scores, seen);
      for (let p = 0; p < seen; p++) {
        const share = scores[p], at = p * width + group;
        for (let i = 0; i < size; i++) out[query + i] += share * values[at + i];
      }
    }
  }
  return out;
}

/** Scores to probabilities, in place; the largest is taken off first, so that none overflows. */
export function softmax(scores, length = scores.length) {
  let largest = -Infinity, total = 0;
  for (let i = 0; i < length; i++) largest = Math.max(largest, scores[i]);
  for (let i = 0; i < length; i++) total += scores[i] = Math.exp(scores[i] - largest);
  for (let i = 0; i < length; i++) scores[i] /= total;
  return scores;
}

export const silu = (x) => x / (1 + Math.exp(-x));
export const gelu = (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));

// Abramowitz and Stegun, 7.1.26: no further than 1.5e-7 from the error function.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}
