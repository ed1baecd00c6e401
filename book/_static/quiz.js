"use strict";
// Makes questions that can be answered out of the quizzes of a page, and keeps in this browser what was chosen. The
// lists that they are made from stay on the page: for paper, and for whoever reads it without JavaScript.
(() => {
  const KEY = "course-quiz";
  const page = location.pathname.split("/").pop().replace(/\.html$/, "");

  const isDictionary = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

  // Browsers may refuse to keep anything. Then what was chosen lasts as long as the page.
  let kept = {};
  const load = () => {
    try {
      const read = JSON.parse(localStorage.getItem(KEY));
      if (isDictionary(read)) kept = read;
    } catch {}
    if (!isDictionary(kept[page])) kept[page] = {};
  };
  const save = () => {
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
    } catch {}
  };

  const make = (tag, attributes = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...children);
    return element;
  };
  const copyOf = (element) => [...element.cloneNode(true).childNodes];
  // The text of a question and of an option is their name: a question that is written anew is a new one.
  const textOf = (element) => element.textContent.trim().replace(/\s+/g, " ");

  const upgrade = (quiz, number, changed) => {
    const asked = quiz.querySelector(".quiz-question");
    const options = [...quiz.querySelectorAll(".quiz-options > li")];
    const answers = [...quiz.querySelectorAll(".quiz-answers > li")];
    const name = textOf(asked);
    const inputs = options.map(() => make("input", { type: "radio", name: `quiz-${number}` }));
    const labels = options.map((option, i) => make("label", {}, inputs[i], make("span", {}, ...copyOf(option.querySelector("p") ?? option))));
    const status = make("div");
    status.setAttribute("role", "status");
    const legend = make("legend", {}, ...copyOf(asked));
    const form = make("form", {}, make("fieldset", {}, legend, ...labels), make("button", { type: "submit", textContent: "Check" }), status);

    const isRight = (i) => answers[i].classList.contains("quiz-right");
    const show = (i) => {
      status.className = i < 0 ? "" : isRight(i) ? "is-right" : "is-wrong";
      status.replaceChildren(...(i < 0 ? [] : copyOf(answers[i].querySelector("p") ?? answers[i])));
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = inputs.findIndex((input) => input.checked);
      if (chosen < 0) {
        show(-1);
        status.textContent = "Choose an option first.";
        return;
      }
      show(chosen);
      load();
      kept[page][name] = textOf(options[chosen]);
      save();
      changed();
    });
    quiz.append(form);
    quiz.classList.add("is-live");
    return {
      restore() {
        const chosen = options.findIndex((option) => textOf(option) === kept[page][name]);
        inputs.forEach((input, i) => (input.checked = i === chosen));
        show(chosen);
      },
      state() {
        const chosen = options.findIndex((option) => textOf(option) === kept[page][name]);
        return chosen < 0 ? "open" : isRight(chosen) ? "right" : "wrong";
      },
    };
  };

  const start = () => {
    const quizzes = [...document.querySelectorAll(".quiz")];
    if (!quizzes.length) return;
    load();
    const said = make("span");
    const again = make("button", { type: "button", textContent: "Start again" });
    const tell = () => {
      const states = questions.map((question) => question.state());
      const right = states.filter((state) => state === "right").length;
      said.textContent = `${right} of ${states.length} answered right. Your answers stay in this browser.`;
      again.hidden = states.every((state) => state === "open");
    };
    const questions = quizzes.map((quiz, i) => upgrade(quiz, i + 1, tell));
    again.addEventListener("click", () => {
      load();
      kept[page] = {};
      save();
      questions.forEach((question) => question.restore());
      tell();
      document.querySelector(".quiz input").focus();
    });
    quizzes[0].before(make("div", { className: "quiz-progress" }, said, again));
    questions.forEach((question) => question.restore());
    tell();
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();

  // On paper every fold is open; afterwards it is as it was.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.quiet-fold:not([open]), .quiz details:not([open])")];
    opened.forEach((fold) => (fold.open = true));
  });
  addEventListener("afterprint", () => {
    opened.forEach((fold) => (fold.open = false));
    opened = [];
  });
})();
