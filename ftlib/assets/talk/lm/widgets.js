"use strict";
// What the programs of a page share: elements, bars of probabilities, and a model that is loaded on a click and runs in
// a worker. No module, so that a page also runs, and says why it can't go on, where it is opened as a file. What a model
// writes is text, and is only ever shown as text.
const ModelWidgets = (() => {
  const HERE = new URL(".", document.currentScript.src);
  // The folder of the site, where this program lies in lm/ or, in the book, in _static/lm/.
  const FOLDER = decodeURIComponent(HERE.pathname).replace(/(_static\/)?lm\/$/, "").replace(/^\/(?=[A-Za-z]:)/, "");
  const FROM_FILE = `A page that was opened as a file may not load a model. Serve its folder, and open it there: python -m http.server --bind 127.0.0.1 --directory "${FOLDER}"`;
  const NO_WORKER = "The connection was lost before the program that runs the model was there: see that you are online, and load it again.";
  const CRASHED = "The program that runs the model stopped, probably for want of memory: close other tabs, and load it again.";

  const make = (tag, attributes = {}, ...children) => {
    const { aria = {}, ...properties } = attributes;
    const element = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(aria)) element.setAttribute(name === "role" ? name : `aria-${name}`, value);
    element.append(...children);
    return element;
  };
  const button = (textContent, onclick, more = {}) => make("button", { type: "button", textContent, onclick, ...more });
  const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  /** A token as text that can be seen: spaces, line breaks, and whatever else would leave no mark. */
  const visible = (token) => token.replaceAll(" ", "\u00b7").replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5")
    .replace(/[\p{Cc}\p{Cf}\p{Z}]/gu, (sign) => `U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);

  /** Tokens with their probabilities, the likeliest first; one of them may be marked. */
  const bars = (tokens, chosen = null) => make("ol", { className: "talk-bars" }, ...tokens.map(({ text, share }) => {
    const bar = make("span", { className: "talk-bar", aria: { hidden: "true" } }, make("span"));
    bar.firstChild.style.width = `${100 * share}%`;
    const row = [make("code", { textContent: visible(text) }), bar, make("span", { textContent: percent(share) })];
    return make("li", { className: text === chosen ? "is-chosen" : "" }, ...row);
  }));

  /** Tokens as buttons in a row that the keyboard enters once; arrow keys go from one to the next. */
  const strip = (tokens, label, onClick, onMove = () => {}) => {
    const buttons = tokens.map((text, i) => button(visible(text), () => onClick(i), { className: "talk-token" }));
    const mark = (chosen) => buttons.forEach((one, i) => {
      one.tabIndex = i === chosen ? 0 : -1;
      one.setAttribute("aria-pressed", String(i === chosen));
    });
    const row = make("div", { className: "talk-strip", aria: { role: "group", label: `${label}; arrow keys go from one to the next` } }, ...buttons);
    row.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = buttons.indexOf(document.activeElement) + step;
      if (!step || !buttons[next]) return;
      event.preventDefault();
      buttons[next].focus();
      onMove(next);
    };
    return { row, mark };
  };

  /** A model of a page: its button, its progress, and a plain word for each failure. The worker's messages reach `on_KIND`. */
  class ModelInPage {
    constructor(place) {
      this.place = place;
      this.about = JSON.parse(place.dataset.about);
      const { name, files } = this.about;
      this.url = new URL(`models/${name}/`, HERE).href;
      this.size = files.reduce((sum, file) => sum + file.bytes, 0);
      this.loadButton = button(`Load ${name} into this page (${megabytes(this.size)})`, () => this.load(), { className: "talk-primary" });
      this.cancelButton = button("Cancel", () => this.cancel(), { hidden: true });
      this.bar = make("progress", { max: this.size, value: 0, hidden: true, aria: { label: `Loading ${name}` } });
      this.loading = make("div", { className: "talk-row" }, this.loadButton, this.bar, this.cancelButton);
      this.status = make("p", { className: "talk-status", aria: { role: "status" } });
    }

    say(text) {
      this.status.textContent = text;
    }

    load() {
      if (location.protocol === "file:") return this.say(FROM_FILE);
      this.loadButton.hidden = true;
      this.bar.hidden = this.cancelButton.hidden = false;
      this.cancelButton.focus();
      this.bar.value = 0;
      this.say("");
      this.worker = new Worker(new URL("worker.js", HERE), { type: "module" });
      this.worker.onmessage = ({ data }) => this[`on_${data.kind}`](data);
      // Whether the worker's files didn't come or something in them failed: only the second has a message.
      this.worker.onerror = (event) => this.unload(event.message ? CRASHED : NO_WORKER);
      this.worker.postMessage({ kind: "load", url: this.url, about: this.about });
    }

    cancel() {
      this.unload("Cancelled. What was loaded is thrown away.");
    }

    unload(text) {
      this.worker?.terminate();
      this.worker = null;
      this.isLoaded = false;
      this.hasGone();
      this.bar.hidden = this.cancelButton.hidden = true;
      this.loadButton.hidden = false;
      this.loadButton.focus();
      this.say(text);
    }

    on_waiting() {
      this.say("Another tab is loading this model: waiting until it is in the browser's cache. Each tab needs memory of its own for it.");
    }

    on_progress({ received }) {
      this.bar.value = received;
      this.say(received < this.size ? `${megabytes(received)} of ${megabytes(this.size)}` : "Unpacking");
    }

    on_loaded({ seconds, kept, fromCache }) {
      this.isLoaded = true;
      this.bar.hidden = this.cancelButton.hidden = true;
      const where = fromCache ? "from this browser's cache" : kept ? "and kept in this browser's cache" : "but this browser has no room to keep it";
      this.say(`${this.about.name} runs in this page, on your computer: loaded in ${seconds.toFixed(1)} s, ${where}.`);
      this.isThere();
    }

    on_failed({ message }) {
      this.unload(message);
    }
  }

  /** Call `take` with each section that a selector finds, once all of the page is there. */
  const onPage = (selector, take) => {
    const start = () => document.querySelectorAll(selector).forEach(take);
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
  };

  return { ModelInPage, bars, button, make, onPage, strip };
})();
