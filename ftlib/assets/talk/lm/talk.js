"use strict";
// Makes each recorded talk of a page (see ftlib/export/page_section.py) one that the reader can join: the model is loaded
// on a click and runs in a worker. No module, so that it also runs, and says why it can't go on, where a page is
// opened as a file. What a model writes is text, and is only ever shown as text.
(() => {
  const HERE = new URL(".", document.currentScript.src);
  // The folder of the site, where this program lies in lm/ or, in the book, in _static/lm/.
  const FOLDER = decodeURIComponent(HERE.pathname).replace(/(_static\/)?lm\/$/, "").replace(/^\/(?=[A-Za-z]:)/, "");
  const FROM_FILE = `A page that was opened as a file may not load a model. Serve its folder, and open it there: python -m http.server --bind 127.0.0.1 --directory "${FOLDER}"`;
  const NO_WORKER = "The connection was lost before the program that runs the model was there: see that you are online, and load it again.";
  const CRASHED = "The program that runs the model stopped, probably for want of memory: close other tabs, and load it again.";
  const ENDS = { end: "the model ended it", length: "cut at the limit", stopped: "stopped" };

  const LONGEST_LABEL = 90; // letters of a question on its button

  const make = (tag, attributes = {}, ...children) => {
    const { aria = {}, ...properties } = attributes;
    const element = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(aria)) element.setAttribute(name === "role" ? name : `aria-${name}`, value);
    element.append(...children);
    return element;
  };
  const button = (textContent, onclick, more = {}) => make("button", { type: "button", textContent, onclick, ...more });
  const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
  const visible = (token) => token.replaceAll(" ", "\u00b7").replaceAll("\n", "\u21b5");
  const shortened = (text) => (text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL).trimEnd()}\u2026` : text);
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  /** A number that the reader may change: `input.valueAsNumber`, or the default where the field holds none. */
  const setting = (label, value, { min, max, step }) => {
    const input = make("input", { type: "number", min, max, step, value });
    const read = () => (input.validity.valid && input.value !== "" ? input.valueAsNumber : value);
    return { row: make("label", {}, make("span", { textContent: label }), input), read };
  };

  class Talk {
    constructor(place) {
      this.place = place;
      this.about = JSON.parse(place.dataset.about);
      this.url = new URL(`models/${this.about.name}/`, HERE).href;
      this.columns = this.about.tuned ? ["base", "tuned"] : [this.about.name];
      this.recorded = [...place.querySelectorAll("dt")].map((asked) => ({
        question: asked.textContent,
        answers: [...asked.parentElement.querySelectorAll("dd > .talk-text")].map((one) => one.textContent),
      }));
      this.note = place.querySelector(".talk-note")?.textContent ?? "";
      this.build();
      this.showRecorded(0);
      place.classList.add("is-live");
    }

    build() {
      const { name, files } = this.about;
      this.size = files.reduce((sum, file) => sum + file.bytes, 0);
      this.chips = this.recorded.map(({ question }, i) => button(shortened(question), () => this.take(i), { title: question.length > LONGEST_LABEL ? question : "", className: "talk-chip", aria: { pressed: "false" } }));
      this.answers = this.columns.map((column) => ({
        text: make("pre", { className: "talk-text" }),
        note: make("p", { className: "talk-note" }),
        tokens: make("details", { className: "talk-tokens", hidden: true }, make("summary", { textContent: "Each token, and what else was likely" })),
        column,
      }));
      this.asked = make("p", { className: "talk-asked" });
      this.loadButton = button(`Load ${name} into this page (${megabytes(this.size)})`, () => this.load(), { className: "talk-primary" });
      this.cancelButton = button("Cancel", () => this.cancel(), { hidden: true });
      this.bar = make("progress", { max: this.size, value: 0, hidden: true, aria: { label: `Loading ${name}` } });
      this.status = make("p", { className: "talk-status", aria: { role: "status" } });
      this.spoken = make("p", { className: "visually-hidden talk-spoken", aria: { role: "status" } });
      this.field = make("textarea", { rows: 2, required: true, aria: { label: `Your question to ${name}` } });
      this.field.onkeydown = (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.form.requestSubmit();
      };
      this.askButton = make("button", { type: "submit", textContent: "Ask", className: "talk-primary" });
      this.stopButton = button("Stop", () => this.worker?.postMessage({ kind: "stop" }), { disabled: true });
      this.form = make("form", { hidden: true, className: "talk-form" }, this.field, make("div", { className: "talk-row" }, this.askButton, this.stopButton), this.settings());
      this.form.onsubmit = (event) => {
        event.preventDefault();
        if (this.field.value.trim()) this.ask(this.field.value.trim());
      };
      const panels = this.answers.map(({ column, text, note, tokens }) =>
        make("div", { className: "talk-answer", aria: { role: "group", label: `Answer of ${column}` } }, ...(this.about.tuned ? [make("p", { className: "talk-column", textContent: column })] : []), text, note, tokens));
      this.place.append(
        make("div", { className: "talk-chips", aria: { role: "group", label: "Questions to ask" } }, ...this.chips),
        this.asked, make("div", { className: "talk-answers" }, ...panels),
        make("div", { className: "talk-row" }, this.loadButton, this.bar, this.cancelButton), this.status, this.spoken, this.form);
    }

    settings() {
      const numbers = {
        temperature: setting("Temperature (0: the likeliest token each time)", 0, { min: 0, max: 5, step: "any" }),
        topK: setting("Top k (0: all tokens)", 0, { min: 0, max: 100000, step: 1 }),
        topP: setting("Top p", 1, { min: 0.01, max: 1, step: "any" }),
        seed: setting("Seed", 0, { min: 0, max: 4294967295, step: 1 }),
        maxNewTokens: setting("Tokens at most", Number(this.place.dataset.tokens), { min: 1, max: this.about.context, step: 1 }),
      };
      const rows = Object.values(numbers).map(({ row }) => row);
      const scale = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 1 });
      if (this.about.adapter) rows.push(make("label", {}, make("span", { textContent: "Strength of the adapter (0: base, 1: as trained)" }), scale));
      this.read = (column) => ({
        ...Object.fromEntries(Object.entries(numbers).map(([name, { read }]) => [name, read()])),
        scale: column === "tuned" && this.about.adapter ? scale.valueAsNumber : 0,
        column,
      });
      return make("details", { className: "talk-settings" }, make("summary", { textContent: "Settings" }), ...rows);
    }

    say(text) {
      this.status.textContent = text;
    }

    /** A question of the page: its recorded answer, until the model is there to answer it now. */
    take(i) {
      if (!this.isLoaded) return this.showRecorded(i);
      this.field.value = this.recorded[i].question;
      if (!this.isAsked) this.ask(this.recorded[i].question, i);
    }

    showQuestion(question) {
      this.chips.forEach((chip, i) => chip.setAttribute("aria-pressed", String(this.recorded[i].question === question)));
      this.asked.textContent = question;
    }

    showRecorded(i) {
      if (!this.recorded.length) return;
      this.showQuestion(this.recorded[i].question);
      this.answers.forEach((answer, column) => {
        answer.text.textContent = this.recorded[i].answers[column];
        answer.note.textContent = this.note;
      });
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
      this.answered?.({ failed: true });
      this.form.hidden = this.bar.hidden = this.cancelButton.hidden = true;
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
      this.form.hidden = false;
      this.field.value = this.asked.textContent;
      this.field.focus();
      const where = fromCache ? "from this browser's cache" : kept ? "and kept in this browser's cache" : "but this browser has no room to keep it";
      this.say(`${this.about.name} runs in this page, on your computer: loaded in ${seconds.toFixed(1)} s, ${where}.`);
    }

    on_failed({ id, message }) {
      if (id === undefined) return this.unload(message);
      this.say(message);
      this.answered?.({ failed: true });
    }

    on_token(step) {
      this.latest = step;
      this.steps.push(step);
      this.frame ??= requestAnimationFrame(() => this.draw()); // however fast tokens come
    }

    draw() {
      this.frame = null;
      this.current.text.textContent = this.latest.text || "\u2026";
      this.current.note.textContent = `${this.latest.count} tokens`;
    }

    on_answered(told) {
      this.answered(told);
    }

    async ask(question) {
      if (this.isAsked) return;
      this.isAsked = true;
      this.showQuestion(question);
      this.askButton.disabled = true;
      this.stopButton.disabled = false;
      this.say("");
      this.spoken.textContent = "";
      for (const answer of this.answers) {
        answer.text.textContent = "\u2026";
        answer.note.textContent = "";
        answer.tokens.hidden = true;
      }
      for (const [id, answer] of this.answers.entries()) if (!(await this.answer(id, answer, question))) break;
      this.isAsked = false;
      this.askButton.disabled = false;
      this.stopButton.disabled = true;
    }

    /** Let one column answer; false when no other should. */
    async answer(id, answer, question) {
      this.current = answer;
      this.steps = [];
      this.latest = { text: "", count: 0 };
      const told = await new Promise((done) => {
        this.answered = done;
        this.worker.postMessage({ kind: "ask", id, question, settings: this.read(answer.column) });
      });
      this.answered = null;
      cancelAnimationFrame(this.frame);
      this.draw();
      if (told.failed) {
        answer.note.textContent = "";
        return false;
      }
      const speed = told.speed ? `, ${told.speed.toFixed(told.speed < 20 ? 1 : 0)} tokens/s` : "";
      answer.note.textContent = `${told.count} ${told.count === 1 ? "token" : "tokens"}${speed}; ${ENDS[told.reason]}`;
      // For a screen reader, which isn't read half an answer.
      this.spoken.textContent = `Answer of ${answer.column}: ${this.latest.text || "nothing"}`;
      if (this.steps.length) this.showTokens(answer.tokens, this.steps);
      return told.reason !== "stopped";
    }

    /** Every token as a button; under them, how likely it and its rivals were. Arrow keys go from one to the next. */
    showTokens(details, steps) {
      const bars = make("div", { className: "talk-bars", aria: { live: "polite" } });
      const buttons = steps.map((step, i) => button(visible(step.token), () => choose(i), { className: "talk-token", tabIndex: -1 }));
      const choose = (i) => {
        buttons.forEach((one, at) => {
          one.tabIndex = at === i ? 0 : -1;
          one.setAttribute("aria-pressed", String(at === i));
        });
        const { token, share, others } = steps[i];
        const known = others.some((one) => one.text === token);
        bars.replaceChildren(...[...others, ...(known ? [] : [{ text: token, share }])].map((one) => {
          const bar = make("span", { className: "talk-bar", aria: { hidden: "true" } }, make("span"));
          bar.firstChild.style.width = `${100 * one.share}%`;
          return make("div", { className: one.text === token ? "is-chosen" : "" }, make("code", { textContent: visible(one.text) }), bar, make("span", { textContent: percent(one.share) }));
        }));
      };
      const strip = make("div", { className: "talk-strip", aria: { role: "group", label: "Tokens of the answer; arrow keys go from one to the next" } }, ...buttons);
      strip.onkeydown = (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        const next = buttons[buttons.indexOf(document.activeElement) + step];
        if (!step || !next) return;
        event.preventDefault();
        choose(buttons.indexOf(next));
        next.focus();
      };
      choose(0);
      details.replaceChildren(details.firstChild, strip, bars);
      details.hidden = false;
    }
  }

  const start = () => document.querySelectorAll("section.talk[data-about]").forEach((place) => new Talk(place));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
