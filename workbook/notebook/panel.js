// HTML from Python, whose buttons ask Python for other HTML: a button with data-ask="next" asks for "next".

const PATIENCE = 2000; // ms until the learner is told that no answer has come

function render({ model, el }) {
  const panel = document.createElement("div");
  panel.className = "workbook-panel";
  panel.tabIndex = -1;
  panel.setAttribute("aria-live", "polite");
  let late;

  const draw = () => {
    clearTimeout(late);
    const hadFocus = panel.contains(document.activeElement);
    const asked = document.activeElement?.dataset.ask;
    panel.innerHTML = model.get("html");
    if (!hadFocus) return;
    const buttons = [...panel.querySelectorAll("[data-ask]")];
    (buttons.find((button) => button.dataset.ask === asked) ?? panel).focus({ preventScroll: true });
  };

  const tellItIsLate = () => {
    const text = document.createElement("p");
    text.textContent = model.get("late");
    panel.append(text);
  };

  panel.addEventListener("click", (event) => {
    const button = event.target.closest("[data-ask]");
    if (!button) return;
    button.setAttribute("aria-busy", "true");
    clearTimeout(late);
    late = setTimeout(tellItIsLate, PATIENCE);
    model.send({ ask: button.dataset.ask });
  });
  // Enter and the space bar press the button: the notebook is not to take them for its own.
  panel.addEventListener("keydown", (event) => event.stopPropagation());

  model.on("change:html", draw);
  draw();
  el.append(panel);
  return () => {
    clearTimeout(late);
    model.off("change:html", draw);
  };
}

export default { render };
