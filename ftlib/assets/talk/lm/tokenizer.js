// Byte-level BPE, from a tokenizer.json.

// What GPT-2 takes for a word. \p{White_Space} instead of \s, which has other characters in JavaScript.
const WORD = /'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const DIGIT = /\p{N}|\P{N}+/gu;

/** GPT-2's letters for bytes: printable ones stand for themselves, the others for letters from 256 on. */
const LETTERS = (() => {
  const itself = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(itself(byte) ? byte : next++));
})();
const BYTES = new Map(LETTERS.map((letter, byte) => [letter, byte]));

export class Tokenizer {
  constructor(rules) {
    this.ids = new Map(Object.entries(rules.model.vocab));
    this.ranks = new Map(rules.model.merges.map((pair, rank) => [Array.isArray(pair) ? pair.join(" ") : pair, rank]));
    this.special = new Map(rules.added_tokens.filter((one) => one.special).map((one) => [one.content, one.id]));
    this.tokens = [];
    for (const [token, id] of this.ids) this.tokens[id] = token;
    const parts = rules.pre_tokenizer.pretokenizers ?? [rules.pre_tokenizer];
    this.splitsDigits = parts.some((part) => part.type === "Digits" && part.individual_digits);
    const names = [...this.special.keys()].sort((a, b) => b.length - a.length);
    this.markup = new RegExp(`(${names.map((name) => name.replace(/[^\w<>]/g, "\\$&")).join("|")})`);
    this.known = new Map(); // words that were encoded before
  }

  /** Ids of a text. In markup a special token counts; in anybody's words it is a text like any other. */
  encode(text, { isMarkup = false } = {}) {
    if (!isMarkup) return this.words(text);
    return text.split(this.markup).flatMap((part) => (this.special.has(part) ? [this.special.get(part)] : this.words(part)));
  }

  words(text) {
    const parts = this.splitsDigits ? text.match(DIGIT) ?? [] : [text];
    return parts.flatMap((part) => part.match(WORD) ?? []).flatMap((word) => {
      if (!this.known.has(word)) this.known.set(word, this.merge(word));
      return this.known.get(word);
    });
  }

  /** From single bytes on, join the pair that was learnt first, until no pair is known. */
  merge(word) {
    const parts = Array.from(new TextEncoder().encode(word), (byte) => LETTERS[byte]);
    const rankAt = (i) => this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
    const ranks = parts.slice(1).map((_, i) => rankAt(i));
    for (;;) {
      let best = 0;
      for (let i = 1; i < ranks.length; i++) if (ranks[i] < ranks[best]) best = i;
      if (!(ranks[best] < Infinity)) return parts.map((part) => this.ids.get(part)).filter((id) => id !== undefined);
      parts.splice(best, 2, parts[best] + parts[best + 1]);
      ranks.splice(best, 1);
      if (best > 0) ranks[best - 1] = rankAt(best - 1);
      if (best < ranks.length) ranks[best] = rankAt(best);
    }
  }

  /** Text of ids without special tokens; bytes of half a character become U+FFFD. */
  decode(ids) {
    const special = new Set(this.special.values());
    const letters = ids.filter((id) => !special.has(id)).map((id) => this.tokens[id] ?? "").join("");
    const bytes = Uint8Array.from(Array.from(letters), (letter) => BYTES.get(letter));
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  }

  /** One token as it is shown: a special one by its name. */
  show(id) {
    return [...this.special].find(([, one]) => one === id)?.[0] ?? this.decode([id]);
  }
}
