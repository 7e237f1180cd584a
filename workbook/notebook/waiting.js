// A bar, the seconds that have passed, what happens now, and a button that ends it.

const SECONDS_UNTIL_ADVICE = 3;

function element(tag, name, parent) {
  const made = document.createElement(tag);
  made.className = name;
  parent.append(made);
  return made;
}

// Text with `code` set as code.
function writeWithCode(line, text) {
  text.split("`").forEach((piece, number) => {
    if (number % 2) {
      element("code", "", line).textContent = piece;
    } else {
      line.append(piece);
    }
  });
}

export default {
  render({ model, el }) {
    const strings = model.get("strings");
    el.classList.add("workbook-waiting");
    if (strings.foreseen) {
      writeWithCode(element("div", "words foreseen", el), strings.foreseen);
    }
    const bar = element("div", "bar", el);
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", strings.attempt);
    bar.setAttribute("aria-valuemin", "0");
    bar.setAttribute("aria-valuemax", "100");
    const done = element("div", "done", bar);
    const cancel = element("button", "cancel", el);
    cancel.type = "button";
    cancel.textContent = strings.cancel;
    const line = element("div", "words", el);
    const elapsed = element("span", "elapsed", line);
    const words = element("span", "now", line);
    const advice = element("div", "words", el);
    advice.setAttribute("role", "status");

    const draw = () => {
      const percent = Math.floor(100 * model.get("fraction"));
      done.style.width = `${100 * model.get("fraction")}%`;
      bar.setAttribute("aria-valuenow", `${percent}`);
      bar.setAttribute("aria-valuetext", model.get("words"));
      bar.classList.toggle("overdue", model.get("overdue"));
      elapsed.textContent = model.get("elapsed");
      words.textContent = model.get("words");
    };
    model.on("change", draw);
    draw();

    let timer;
    cancel.addEventListener("click", () => {
      model.send({ cancel: true });
      cancel.disabled = true;
      cancel.textContent = strings.cancelling;
      // Where a front end holds messages back until the cell is done, only its own button helps.
      timer = setTimeout(() => (advice.textContent = strings.advice), 1000 * SECONDS_UNTIL_ADVICE);
    });
    return () => {
      clearTimeout(timer);
      model.off("change", draw);
    };
  },
};
