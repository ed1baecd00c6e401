"use strict";
// Lets a reader ask, at any token of a text, which token a model expects next (see book/_extensions/next_token.py). What
// was recorded stands there until the model is loaded, which the first click on a token does, and runs in a worker.
(() => {
  const { ModelInPage, bars, make, onPage, strip } = ModelWidgets; // lm/widgets.js

  class NextToken extends ModelInPage {
    constructor(place) {
      super(place);
      Object.assign(this, JSON.parse(place.dataset.recorded)); // text, tokens, position
      this.after = place.querySelector(".talk-after");
      this.bars = place.querySelector(".talk-bars");
      const { name } = this.about;
      this.note = place.querySelector(".talk-note");
      this.note.textContent += `. Choose a token to see what ${name} expects after it: the first time, that loads ${name}.`;
      this.shown = make("div", { aria: { live: "polite" } });
      this.after.before(this.shown);
      this.shown.append(this.after, this.bars);
      this.field = make("textarea", { rows: 2, required: true, value: this.text, aria: { label: "A text of your own" } });
      this.form = make("form", { hidden: true, className: "talk-form" }, this.field, make("button", { type: "submit", textContent: "Take this text", className: "talk-primary" }));
      this.form.onsubmit = (event) => {
        event.preventDefault();
        this.say("");
        this.ask(this.field.value);
      };
      place.append(this.loading, this.status, this.form);
      this.lay();
    }

    /** Lay out the tokens of the text as buttons. */
    lay() {
      const { row, mark } = strip(this.tokens, "Tokens of the text", (i) => this.take(i));
      (this.row ?? this.place.querySelector(".talk-strip")).replaceWith(row);
      Object.assign(this, { row, mark });
      mark(this.position);
    }

    take(i) {
      this.wanted = i;
      if (this.isLoaded) this.ask(this.text, i);
      else if (!this.worker) this.load();
    }

    hasGone() {
      this.form.hidden = true;
    }

    isThere() {
      this.form.hidden = false;
      const at = this.wanted ?? this.position;
      this.row.children[at].focus();
      this.ask(this.text, at);
    }

    /** Ask what may come after a token of a text; without its place, after the last one. */
    ask(text, position) {
      this.asked = { text, id: (this.asked?.id ?? 0) + 1 };
      this.worker.postMessage({ kind: "expect", position, ...this.asked });
    }

    on_expected({ id, tokens, position, likeliest }) {
      if (id !== this.asked.id) return; // another was asked for since
      Object.assign(this, { position, wanted: position });
      if (this.asked.text === this.text) this.mark(position);
      else {
        Object.assign(this, { text: this.asked.text, tokens });
        this.lay();
      }
      const name = this.row.children[position].textContent;
      this.after.replaceChildren(`After token ${position + 1}, `, make("code", { textContent: name }));
      const fresh = bars(likeliest);
      this.bars.replaceWith(fresh);
      this.bars = fresh;
      this.note.textContent = "Computed now, in this page. Choose a token, or give a text of your own.";
    }

    on_failed({ id, message }) {
      if (id === undefined) this.unload(message); // it was not loaded
      else this.say(message);
    }
  }

  onPage("section.talk[data-recorded]", (place) => new NextToken(place));
})();
