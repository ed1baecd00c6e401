// The search: MiniSearch ranks the sections of the book by their words. The build writes them, as PAGES in sections.js, and
// with them the words of keywords.yml.
// What is asked stands in the address, as in search.html?q=out+of+memory.
const stemmer = new Stemmer();
const PASTED = 6; // words: a query as long as this is a message, and its wording need not be ours to the last word
const SHOWN = 30;
// A name of the library is found by whoever types it; who asks in words looks for an explanation first.
const KINDS = { section: 1, term: 0.8, name: 0.35 };

const wordsOf = (text) =>
  text.split(/[^\p{L}\p{N}_]+/u).flatMap((word) => (word.includes("_") ? [word, ...word.split("_")] : [word])).filter(Boolean);
const stemOf = (word) => {
  const small = word.toLowerCase() === "zero" ? "0" : word.toLowerCase();
  return stopwords.includes(small) ? null : stemmer.stemWord(small);
};
const stemsOf = (text) => new Set(wordsOf(text).map(stemOf).filter(Boolean));
const plain = (text) => ` ${wordsOf(text).map(stemOf).filter(Boolean).join(" ")} `;

const index = new MiniSearch({
  fields: ["title", "also", "page", "text", "code"],
  storeFields: ["title", "also", "page", "text", "kind"],
  tokenize: wordsOf,
  processTerm: stemOf,
});
for (const [name, entries] of Object.entries(PAGES)) {
  const page = (entries.find((entry) => !entry.anchor) ?? entries[0])?.title;
  for (const { anchor, ...entry } of entries) {
    index.add({ kind: name.startsWith("book/api/") ? "name" : "section", ...entry, id: `${name}.html${anchor ? `#${anchor}` : ""}`, page });
  }
}

// How well an entry answers: which part of the query's words it has, whether they stand together in it as they do there,
// and, where a section is called by an error message, how much of that message was asked for.
const fit = (query, asked) => (found) => {
  const together = plain(query);
  const titled = [...stemsOf(found.title)];
  const share = titled.filter((stem) => asked.has(stem)).length / (titled.length || 1);
  const coverage = (new Set(found.queryTerms).size / asked.size) ** 2;
  const kind = found.kind === "message" ? Math.max(0.1, share) : KINDS[found.kind];
  const names = [found.title, ...(found.also ?? "").split("; ")].map(plain);
  const isPart = names.some((one) => one.includes(together)) ? 2 : plain(found.text ?? "").includes(together) ? 1.5 : 1;
  const closeness = names.includes(together) ? 4 : isPart;
  return { ...found, score: found.score * coverage * kind * closeness };
};

const search = (query) => {
  const asked = stemsOf(query);
  const settings = { boost: { title: 6, also: 6, page: 1.5, text: 1, code: 0.3 }, prefix: (term) => term.length > 3 };
  const all = index.search(query, { ...settings, combineWith: asked.size < PASTED ? "AND" : "OR" });
  const some = all.length ? all : index.search(query, settings);
  const near = some.length ? some : index.search(query, { ...settings, fuzzy: 0.25 });
  return near.map(fit(query, asked)).sort((one, other) => other.score - one.score).slice(0, SHOWN);
};

const excerpt = (text, terms) => {
  const places = terms.map((term) => text.toLowerCase().indexOf(term)).filter((place) => place >= 0);
  const start = text.lastIndexOf(" ", Math.max(0, Math.min(...places, text.length) - 80)) + 1;
  const from = places.length ? start : 0;
  return (from ? "… " : "") + text.slice(from, from + 220) + (from + 220 < text.length ? " …" : "");
};

const show = (query) => {
  const results = search(query);
  const list = document.getElementById("search-results");
  const number = results.length === SHOWN ? `The best ${SHOWN} places` : `${results.length} place${results.length === 1 ? "" : "s"}`;
  document.getElementById("search-summary").textContent = results.length
    ? `${number} for “${query}”.`
    : `Nothing was found for “${query}”. Try fewer words, or a part of the message.`;
  list.replaceChildren(
    ...results.map((found) => {
      const item = document.createElement("li");
      const link = item.appendChild(document.createElement("a"));
      link.href = found.id;
      link.textContent = found.title;
      if (found.page !== found.title) item.append(` — ${found.page}`);
      const text = item.appendChild(document.createElement("p"));
      text.textContent = excerpt(found.text ?? "", found.terms);
      return item;
    }),
  );
};

const asked = new URLSearchParams(window.location.search).get("q")?.trim();
document.querySelectorAll('input[name="q"]').forEach((field) => (field.value = asked ?? ""));
if (asked) show(asked);
else document.querySelector(".bd-search-container input")?.focus();
