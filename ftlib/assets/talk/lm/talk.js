"use strict";
// Makes each recorded talk of a page (see ftlib/export/page_section.py) one that the reader can join.
(() => {
  const { ModelInPage, bars, button, make, onPage, strip } = ModelWidgets; // widgets.js
  const ENDS = { end: "the model ended it", length: "cut at the limit", stopped: "stopped" };

  const LONGEST_LABEL = 90; // letters of a question on its button

  const shortened = (text) => (text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL).trimEnd()}\u2026` : text);

  /** A number that the reader may change: `input.valueAsNumber`, or the default where the field holds none. */
  const setting = (label, value, { min, max, step }) => {
    const input = make("input", { type: "number", min, max, step, value });
    const read = () => (input.validity.valid && input.value !== "" ? input.valueAsNumber : value);
    return { row: make("label", {}, make("span", { textContent: label }), input), read };
  };

  class Talk extends ModelInPage {
    constructor(place) {
      super(place);
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
      const { name } = this.about;
      this.chips = this.recorded.map(({ question }, i) => button(shortened(question), () => this.take(i), { title: question.length > LONGEST_LABEL ? question : "", className: "talk-chip", aria: { pressed: "false" } }));
      this.answers = this.columns.map((column) => ({
        text: make("pre", { className: "talk-text" }),
        note: make("p", { className: "talk-note" }),
        tokens: make("details", { className: "talk-tokens", hidden: true }, make("summary", { textContent: "Each token, and what else was likely" })),
        column,
      }));
      this.asked = make("p", { className: "talk-asked" });
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
        this.loading, this.status, this.spoken, this.form);
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

    hasGone() {
      this.answered?.({ failed: true });
      this.form.hidden = true;
    }

    isThere() {
      this.form.hidden = false;
      this.field.value = this.asked.textContent;
      this.field.focus();
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

    /** Every token as a button; under them, how likely it and its rivals were. */
    showTokens(details, steps) {
      const shown = make("div", { aria: { live: "polite" } });
      const choose = (i) => {
        mark(i);
        const { token, share, others } = steps[i];
        const known = others.some((one) => one.text === token);
        shown.replaceChildren(bars([...others, ...(known ? [] : [{ text: token, share }])], token));
      };
      const { row, mark } = strip(steps.map(({ token }) => token), "Tokens of the answer", choose, choose);
      choose(0);
      details.replaceChildren(details.firstChild, row, shown);
      details.hidden = false;
    }
  }

  onPage("section.talk[data-tokens]", (place) => new Talk(place));
})();
