"use strict";
// Will it fit? Works out what ftlib.estimate says, from the table that book.fit.table made (fit_table.js). Whole
// numbers are BigInt, so that they are equal to Python's to the byte; a test compares a few hundred.
(() => {
  const KINDS = ["weights", "gradients", "optimizer", "activations", "logits"];
  const BLOCK = 32;

  const lettersOf = ({ rows, length, rank }) => ({
    B: BigInt(rows),
    T: BigInt(length),
    U: BigInt(length + 1),
    P: BigInt(Math.ceil(length / BLOCK) * BLOCK),
    r: BigInt(rank),
  });
  const valueOf = (formula, letters) =>
    Object.entries(formula ?? {}).reduce(
      (sum, [product, factor]) => sum + [...product].reduce((result, letter) => result * letters[letter], BigInt(factor)),
      0n,
    );
  const totalOf = (memory) => KINDS.reduce((sum, kind) => sum + memory[kind], 0n);

  // The fullest moment, the first of equals: forward and backward pass with what the optimizer keeps, then its update.
  const peakOf = (table, chosen) => {
    const model = table.models[chosen.model];
    const { dtype } = table.precisions[chosen.precision];
    const letters = lettersOf(chosen);
    const again = chosen.checkpointing ? "again" : "once";
    const update = model.updates[`${dtype} ${chosen.adapters} ${chosen.optimizer}`];
    const steps = model.steps[`${chosen.device} ${chosen.precision} ${chosen.adapters} ${again}`];
    const moments = [...steps.map((moment) => ({ ...moment, optimizer: update.kept })), ...update.moments];
    let peak = null;
    for (const moment of moments) {
      const memory = Object.fromEntries(KINDS.map((kind) => [kind, valueOf(moment[kind], letters)]));
      if (peak === null || totalOf(memory) > totalOf(peak)) peak = memory;
    }
    return peak;
  };

  const estimate = (table, chosen) => {
    const sizes = table.models[chosen.model].sizes[chosen.adapters];
    const letters = lettersOf(chosen);
    const count = (name) => valueOf(sizes[name], letters);
    const tokens = letters.B * letters.T;
    const perStep = tokens * (count("flops") + (chosen.checkpointing ? count("repeated") : 0n));
    const peak = peakOf(table, chosen);
    return {
      parameters: count("parameters"),
      trainable: count("trainable"),
      flopsPerToken: count("flops"),
      flopsPerStep: perStep,
      flopsPerRun: perStep * BigInt(chosen.steps),
      peak,
      total: totalOf(peak),
    };
  };

  const onCards = (table, chosen, need) =>
    table.cards.map((card) => {
      const fits = need.total <= BigInt(card.usable);
      const peakFlops = chosen.precision === "float32" ? card.float32_flops : card.half_flops;
      const hours = Number(need.flopsPerRun) / (table.utilization * peakFlops) / 3600;
      return { ...card, fits, hours, cost: hours * chosen.price };
    });

  globalThis.willItFit = { KINDS, estimate, onCards };
})();

// The page around it.
(() => {
  const place = typeof document === "undefined" ? null : document.getElementById("fit");
  const table = globalThis.FIT_TABLE;
  if (!place || !table) return;
  const { KINDS, estimate, onCards } = globalThis.willItFit;
  const form = place.querySelector("form");
  const field = (name) => form.elements.namedItem(name); // elements.length is their number
  const FIRST = "EleutherAI/pythia-70m";
  const NUMBERS = { rows: 1024, length: 4096, steps: 1e9, rank: 256, price: 1e6 };

  const make = (tag, attributes = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...children);
    return element;
  };
  const grouped = (number) => number.toLocaleString("en");
  const bytes = (count) => {
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let number = Number(count);
    let unit = 0;
    while (number >= 1024 && unit < units.length - 1) [number, unit] = [number / 1024, unit + 1];
    return `${number.toLocaleString("en", { maximumSignificantDigits: 3 })} ${units[unit]}`;
  };
  const short = (number) => {
    const [mantissa, power] = Number(number).toExponential(2).split("e+");
    return make("span", {}, `${mantissa} × 10`, make("sup", {}, power));
  };
  const duration = (hours) => {
    if (hours < 1 / 60) return "under a minute";
    if (hours < 1) return `${Math.round(hours * 60)} min`;
    if (hours < 48) return `${hours.toLocaleString("en", { maximumSignificantDigits: 2 })} h`;
    return `${grouped(Math.round(hours / 24))} days`;
  };

  const limits = (name) => {
    return [Number(field(name).min), name === "length" ? table.models[field("model").value].context : NUMBERS[name]];
  };
  const whole = (name) => {
    const [least, most] = limits(name);
    const number = Number(field(name).value);
    const rounded = name === "price" ? number : Math.round(number);
    return Number.isFinite(rounded) ? Math.min(most, Math.max(least, rounded)) : least;
  };
  const read = () => ({
    ...Object.fromEntries(["model", "device", "precision", "optimizer", "adapters"].map((name) => [name, field(name).value])),
    ...Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, whole(name)])),
    checkpointing: field("checkpointing").checked,
  });
  const write = (settings) => {
    for (const [name, value] of Object.entries(settings)) {
      const one = field(name);
      if (!one) continue;
      if (one.type === "checkbox") one.checked = /^true$/i.test(value);
      else if (one.tagName !== "SELECT" || [...one.options].some((option) => option.value === value)) one.value = value;
    }
  };

  const row = (name, ...cells) => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, cell)));
  const showMemory = (need) => {
    const shares = KINDS.map((kind) => Number(need.peak[kind]) / Number(need.total));
    place.querySelector(".fit-bar").replaceChildren(
      ...KINDS.map((kind, number) => {
        const part = make("span", { className: `fit-${kind}` });
        part.style.width = `${100 * shares[number]}%`;
        return part;
      }),
    );
    place.querySelector(".fit-parts").replaceChildren(
      ...KINDS.map((kind, number) => {
        const line = row("", bytes(need.peak[kind]), `${Math.round(100 * shares[number])} %`);
        line.dataset.bytes = need.peak[kind];
        line.firstChild.append(make("span", { className: `fit-key fit-${kind}` }), kind);
        return line;
      }),
      row("together", bytes(need.total), "100 %"),
    );
  };
  const showCards = (cards, chosen) => {
    const able = (card) => card.fits && (card.has_bfloat16 || chosen.precision !== "bfloat16");
    const smallest = cards.filter(able).sort((one, other) => one.memory - other.memory)[0];
    place.querySelector(".fit-cards").replaceChildren(
      ...cards.map((card) => {
        const slow = chosen.precision === "bfloat16" && !card.has_bfloat16 ? "yes, but it has no bfloat16" : "yes";
        const time = card.fits ? [duration(card.hours), card.cost.toFixed(2)] : ["–", "–"];
        return row(card.name, `${card.memory / 1e9} GB`, card.fits ? slow : "no", ...time);
      }),
    );
    return smallest;
  };
  const show = (remember = true) => {
    const longest = table.models[field("model").value].context;
    field("length").max = longest;
    const onCpu = Object.keys(table.models[field("model").value].steps).some((name) => name.startsWith("cpu "));
    field("device").querySelector("[value=cpu]").disabled = !onCpu;
    if (!onCpu) field("device").value = "cuda";
    field("rank").disabled = field("adapters").value === "none";
    const chosen = read();
    const need = estimate(table, chosen);
    const smallest = showCards(onCards(table, chosen, need), chosen);
    showMemory(need);
    place.querySelector(".fit-cards").closest("table").hidden = chosen.device === "cpu";
    const where = smallest ? `The smallest card in the list that has room for it: ${smallest.name}.` : "It fits on none of the cards in the list.";
    place.querySelector("[role=status]").textContent =
      `${bytes(need.total)} at the fullest moment of a step. ${chosen.device === "cpu" ? "A processor takes it from the machine's memory." : where}`;
    place.querySelector(".fit-counts").replaceChildren(
      row("Parameters", grouped(need.parameters)),
      row("of which trained", grouped(need.trainable)),
      row("FLOPs of a step", short(need.flopsPerStep)),
      row("FLOPs of the run", short(need.flopsPerRun)),
    );
    if (remember) history.replaceState(null, "", `#${new URLSearchParams(chosen)}`);
  };
  const fromAddress = () => {
    const settings = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    write(settings);
    return "model" in settings;
  };

  const choice = (name) => make("option", { value: name, defaultSelected: name === FIRST }, name);
  const settle = () => {
    for (const name of Object.keys(NUMBERS)) field(name).value = whole(name);
    show();
  };
  field("model").replaceChildren(...Object.keys(table.models).map(choice));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => show());
  form.addEventListener("change", settle);
  for (const button of document.querySelectorAll(".fit-examples [data-settings]")) {
    button.addEventListener("click", () => {
      form.reset();
      write(Object.fromEntries(new URLSearchParams(button.dataset.settings)));
      settle();
    });
  }
  addEventListener("hashchange", () => fromAddress() && show(false));
  show(fromAddress());
  place.hidden = false;
})();
