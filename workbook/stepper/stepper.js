// The stepper's front end: draws one launch from data that is sent once, and steps through it.
//
// `mount(element, data)` is all there is (with `data.at_end`, the launch is only shown as it was at its end); JupyterLab gets it through `render`, an exported page calls it itself.
// workbook/stepper/data.py makes the data and says what a step is. Time is the `moment` of a step: what different
// blocks did in one moment is shown together. State is never stored but derived: each cell knows everything that
// happened to it, and is drawn as it was at a moment.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 122; // left of the cells, for the names of rows
const MAX_COLUMNS = 64; // of one line; what is longer goes on in the next
const WRAP = 32; // threads of a warp, banks of shared memory
const MAX_LEGIBLE = 512; // cells of one array that have room for words
const WIDE_LETTER = 9; // pixels, at least what one needs
const MAX_PAST_ARROWS = 80;
const FEW_WRONG = 5; // shown before the others are asked for
const MAX_WRONG = 200;

const PROVENANCES = { o: "own", h: "halo", z: "zero", x: "other", n: "never" };

let instances = 0;

export function mount(root, data, onAsk = null) {
  const id = `stepper${++instances}`;
  const say = (key, values = {}) => fill(data.strings[key] ?? key, values);
  let launch, moments, position, shown, chosen, hovered, timer, scene, width, isPlaced;
  let launchNumber = data.selected;

  // ---- The page

  root.classList.add("stepper");
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // else JupyterLab takes the arrow keys
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", say("stepper"));

  const cases = select(data.launches.map((one, number) => [number, one.name]), (value) => open(Number(value)));
  const blocks = select([], (value) => show(value === "all" ? null : Number(value)));
  const follow = select([], (value) => choose(value === "" ? null : { kind: "thread", ...threadOf(value) }));
  const score = html("span", { class: "score" });
  const remarks = html("ul", { class: "remarks" });
  const wrong = html("div");
  const buttons = {
    first: button("first", say("first"), () => go(0)),
    back: button("back", say("back"), () => go(position - 1)),
    play: button("play", say("play"), togglePlay),
    on: button("on", say("on"), () => go(position + 1)),
    last: button("last", say("last"), () => go(moments.length)),
  };
  const slider = html("input", { type: "range", min: 0, step: 1, "aria-label": say("step_slider") });
  slider.addEventListener("input", () => go(Number(slider.value)));
  const count = html("span", { class: "count" });
  const timeline = svg("svg", { class: "timeline", "aria-hidden": "true" });
  const sentence = html("div", { class: "sentence", role: "status", "aria-live": "polite" });
  const drawing = html("div", { class: "drawing" });
  const detail = html("div", { class: "detail", "aria-live": "polite" });
  const source = html("div", { class: "source" });
  const ptx = html("div", { class: "ptx" });
  const legend = html("div", { class: "legend" });
  root.replaceChildren(
    html("div", { class: "heading" }, labelled(say("case"), cases), labelled(say("block"), blocks), labelled(say("follow"), follow), score),
    remarks,
    wrong,
    html("div", { class: "controls" }, ...Object.values(buttons), html("div", { class: "slide" }, timeline, slider), count),
    html("div", { class: "step" }, html("div", { class: "words" }, sentence, ptx), source),
    drawing,
    detail,
    legend,
  );
  cases.parentElement.hidden = data.launches.length < 2;
  // Of a launch that is too large to be drawn, another block can be asked for.
  const ask = html("input", { type: "number", min: 0, class: "ask", placeholder: say("other_block"), "aria-label": say("other_block") });
  const askForBlock = () => {
    const isShown = launch.blocks.length === 1 && launch.blocks[0].number === Number(ask.value);
    if (ask.value !== "" && !isShown) onAsk(launchNumber, Number(ask.value));
  };
  ask.addEventListener("change", askForBlock);
  ask.addEventListener("keydown", (event) => event.key === "Enter" && askForBlock()); // in JupyterLab it brings no change
  blocks.parentElement.after(ask);

  root.addEventListener("keydown", (event) => {
    const scrolls = event.target === drawing || event.target.closest("pre"); // by the keys that would step
    if ((scrolls || data.at_end) && event.key !== "Escape") return;
    if (event.target.closest("select, .ask") || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      ArrowRight: () => go(position + 1),
      ArrowUp: () => go(position + 1),
      ArrowLeft: () => go(position - 1),
      ArrowDown: () => go(position - 1),
      Home: () => go(0),
      End: () => go(moments.length),
      Escape: () => choose(null),
      " ": togglePlay,
    };
    const act = keys[event.key];
    if (!act || (event.key === " " && event.target.closest("button"))) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });

  // ---- What is shown

  function open(number, block = null) {
    launchNumber = number;
    launch = prepare(data.launches[number]);
    cases.value = String(number);
    options(blocks, [["all", say("all_blocks")], ...launch.blocks.map((one) => [one.number, one.name])]);
    score.textContent = `${launch.right ? "✓" : "✗"} ${launch.title} · ${launch.score}`;
    score.classList.toggle("failed", !launch.right);
    ask.hidden = !(onAsk && launch.is_window);
    remarks.replaceChildren(...launch.remarks.map((text) => html("li", {}, text)));
    drawWrong();
    show(launch.blocks.some((one) => one.number === block) ? block : null);
  }

  function show(block) {
    stop();
    shown = block;
    chosen = hovered = null;
    const steps = launch.steps.filter(isShown);
    moments = [...new Set(steps.map((step) => step.moment))];
    slider.max = moments.length;
    blocks.value = block === null ? "all" : String(block);
    const threads = launch.blocks.filter((one) => block === null || one.number === block);
    options(follow, [
      ["", say("nobody")],
      ...threads.flatMap((one) => range(one.threads).map((thread) => [`${one.number} ${thread}`, fill(say("thread_of"), { block: one.name, thread })])),
    ]);
    drawSource();
    draw();
    go(moments.length);
  }

  const isShown = (step) => shown === null || step.block === shown;
  const now = () => (!moments.length ? Infinity : position === 0 ? -1 : moments[position - 1]); // without steps it is over
  const currentSteps = () => (position === 0 ? [] : launch.byMoment.get(now()).filter(isShown));

  function go(wanted) {
    const target = data.at_end ? moments.length : Math.max(0, Math.min(moments.length, wanted));
    if (target !== wanted) stop();
    position = target;
    slider.value = position;
    const steps = currentSteps();
    const texts = steps.map((step) => step.text);
    const before = say(moments.length ? "before" : "nothing");
    slider.setAttribute("aria-valuetext", texts.join(" ") || before);
    count.textContent = say("count", { step: position, steps: moments.length });
    sentence.replaceChildren(...(texts.length ? texts : [before]).map((text, number) => html("div", { class: steps[number]?.kind === "fault" || steps[number]?.unwritten ? "alarm" : "" }, text)));
    scene.at(now(), data.at_end ? steps.filter((step) => step.kind === "fault") : steps);
    timeline.lastChild?.setAttribute("x", timelineX(position) - 1.5);
    showLine(steps);
    showArrows();
  }

  function togglePlay() {
    if (timer) return stop();
    if (position >= moments.length) go(0);
    setIcon(buttons.play, "pause", say("pause"));
    timer = setInterval(() => (position < moments.length ? go(position + 1) : stop()), Math.max(150, Math.min(900, 30000 / moments.length)));
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    setIcon(buttons.play, "play", say("play"));
  }

  function drawWrong() {
    wrong.replaceChildren(...launch.wrong.map(({ text, indices }) => {
      const line = html("div", { class: "wrongs" }, html("span", {}, `✗ ${text}`), ...indices.slice(0, FEW_WRONG).map(wrongButton));
      const others = indices.slice(FEW_WRONG);
      if (others.length) {
        const more = html("button", { type: "button", class: "more" }, say("more", { count: others.length }));
        more.addEventListener("click", () => {
          more.replaceWith(...others.slice(0, MAX_WRONG).map(wrongButton));
          line.children[FEW_WRONG + 1].focus();
        });
        line.append(more);
      }
      return line;
    }));
  }

  function wrongButton(index) {
    const { why } = launch.outputs[index - launch.output.first];
    const made = html("button", { type: "button", title: why, "aria-label": `${elementName(launch.output, index)}: ${why}` }, elementName({ ...launch.output, name: "" }, index));
    made.addEventListener("click", () => explain(index));
    return made;
  }

  // From a wrong output to the thread and the step that made it.
  function explain(index) {
    const output = launch.outputs[index - launch.output.first];
    const stores = launch.output.history.get(index);
    const last = stores?.at(-1);
    if (last && !launch.blocks.some((block) => block.number === last.block && (shown === null || shown === block.number))) show(null);
    const thread = last && { kind: "thread", block: last.block, thread: last.thread };
    const cell = { kind: "element", array: launch.output, index };
    keep({ ...(thread ?? cell), why: output.why, made: cell });
    go(last ? moments.indexOf(last.moment) + 1 : moments.length);
  }

  const choose = (entity) => keep(same(entity, chosen) ? null : entity);

  function keep(entity) {
    chosen = entity;
    follow.value = chosen?.kind === "thread" ? `${chosen.block} ${chosen.thread}` : "";
    showArrows();
    drawing.querySelector(".selected")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  // ---- The source

  function drawSource() {
    const { file, lines, note } = data.sources?.[launchNumber] ?? {};
    source.replaceChildren();
    if (lines) {
      source.append(
        html("div", { class: "file" }, file),
        html("pre", { tabindex: 0, "aria-label": file }, ...lines.map((line, number) => {
          const row = html("div", { class: "line", "data-line": number + 1 });
          row.innerHTML = `<span class="number">${number + 1}</span>${line}\n`; // markup of our own making, escaped
          return row;
        })),
      );
    }
    if (note) source.append(html("div", { class: "note" }, note));
  }

  function showLine(steps) {
    const pre = source.querySelector("pre");
    for (const row of source.querySelectorAll(".current")) row.classList.remove("current");
    const rows = [];
    for (const step of steps) {
      const line = data.sources?.[launchNumber]?.pcs[step.pc];
      const row = line && pre?.querySelector(`[data-line="${line}"]`);
      if (row && !rows.includes(row)) rows.push(row);
    }
    for (const row of rows) row.classList.add("current");
    const first = pre?.querySelector(`[data-line="${data.sources[launchNumber].first}"]`);
    if (!rows.length && first) pre.scrollTop = first.offsetTop - 4;
    if (rows.length && (rows[0].offsetTop < pre.scrollTop + 20 || rows[0].offsetTop > pre.scrollTop + pre.clientHeight - 40)) {
      pre.scrollTop = rows[0].offsetTop - pre.clientHeight / 2;
    }
    const ptxLines = [...new Set(steps.map((step) => step.pc))].map((pc) => steps.find((step) => step.pc === pc));
    ptx.replaceChildren(
      ...ptxLines.flatMap((step) => [
        html("code", {}, say("ptx", { line: step.line, text: readable(step.ptx) })),
        ...steps.filter((one) => one.pc === step.pc && one.cost).map((one) => html("div", {}, `${blockOf(one.block).name}: ${one.cost}`)),
      ]),
    );
  }

  // ---- The picture

  const blockOf = (number) => launch.blocks.find((one) => one.number === number);
  const threadOf = (value) => Object.fromEntries(value.split(" ").map((part, place) => [["block", "thread"][place], Number(part)]));

  function draw() {
    isPlaced = root.clientWidth > 0;
    measure.font = `10px ${getComputedStyle(root).fontFamily}`;
    widths.clear();
    width = root.clientWidth || 900;
    scene = makeScene(launch, shown, width, id, say);
    drawing.replaceChildren(scene.svg);
    for (const [event, act] of [["pointerover", (entity) => { hovered = entity; }], ["pointerout", () => { hovered = null; }]]) {
      scene.svg.addEventListener(event, (one) => {
        act(scene.entity(one.target));
        showArrows();
      });
    }
    scene.svg.addEventListener("click", (event) => {
      const entity = scene.entity(event.target);
      if (entity?.kind === "element" && entity.array === launch.output && launch.outputs[entity.index - launch.output.first]?.ok === false) explain(entity.index);
      else choose(entity);
    });
    legend.replaceChildren(...scene.legend(!data.at_end));
    drawTimeline();
  }

  const timelineX = (place) => 8 + (timeline.clientWidth - 16) * (moments.length ? place / moments.length : 0);

  function drawTimeline() {
    timeline.replaceChildren();
    const span = Math.max(2, Math.min(14, (timeline.clientWidth - 16) / Math.max(moments.length, 1) - 2));
    moments.forEach((moment, number) => {
      const steps = launch.byMoment.get(moment).filter(isShown);
      const kind = steps.find((step) => step.kind === "fault")?.kind ?? steps[0].kind;
      const alarm = steps.some((step) => step.unwritten || step.outside) ? " alarm" : "";
      const mark = markOf(kind, `${steps[0].space ?? ""}${alarm}`, timelineX(number + 1), span, 0);
      mark.append(svg("title", {}, steps.map((step) => step.text).join("\n")));
      mark.addEventListener("click", () => go(number + 1));
      timeline.append(mark);
    });
    timeline.append(svg("rect", { y: 0, x: timelineX(position ?? 0) - 1.5, width: 3, height: 24, class: "cursor" }));
  }

  function showArrows() {
    scene.select(chosen);
    const entity = hovered ?? chosen;
    scene.arrows(entity ? relations(launch, entity, now(), shown) : []);
    detail.textContent = entity ? describe(entity) : say("hint");
  }

  // ---- Words

  function describe(entity) {
    const of = entity.kind === "element" && entity.array === launch.output ? launch.outputs[entity.index - launch.output.first] : undefined;
    const parts = [entity.why ?? of?.why].filter(Boolean);
    if (entity.kind === "thread") {
      const block = blockOf(entity.block);
      const { x, y } = { x: entity.thread % launch.block[0], y: Math.floor(entity.thread / launch.block[0]) };
      const name = launch.block[1] * launch.block[2] > 1 ? `${entity.thread} (${x}, ${y})` : entity.thread;
      parts.push(fill(say("thread_of"), { block: block.name, thread: name }));
      if (block.idle.includes(entity.thread)) parts.push(launch.idle);
      for (const step of currentSteps()) {
        if (step.block !== entity.block || !step.indices) continue;
        const places = step.threads.flatMap((thread, row) => (thread === entity.thread ? [row] : []));
        for (const row of places.slice(0, 4)) {
          parts.push(say(step.kind === "load" || (step.kind === "fault" && !step.is_store) ? "reads" : "writes", {
            element: step.array ? placeName(step.array, step.indices[row]) : step.indices[row],
            value: step.values ? full(step.values[row]) : "",
          }));
        }
      }
    } else {
      const { array, index } = entity;
      const at = entity.before ? (lastBarrier(launch, array.block, now()) ?? now()) : now();
      const event = array.history.get(index)?.findLast((one) => one.moment <= at);
      const name = elementName(array, index);
      parts.push(array.block === undefined ? name : say("slot_of", { slot: name, block: blockOf(array.block).name }));
      if (index < array.first || index >= array.first + array.count) parts.push(say("outside"));
      else if (entity.numpy) parts.push(say("numpy_says", { value: full(launch.outputs[index - array.first].expected) }));
      else {
        const got = !event && array.is_output && position === moments.length ? of?.got ?? null : null;
        const value = event ? event.value : got ?? array.values?.[index - array.first];
        if (value !== undefined && value !== null) parts.push(full(value));
        if (event?.provenance) parts.push(say(`${PROVENANCES[event.provenance]}_long`));
        if (event?.source) parts.push(say("from", { element: placeName(...event.source) }));
        if (event) parts.push(say("written_by", { thread: threadName(event, array) }));
        else if (got !== null) parts.push(say("elsewhere"));
        else if (array.block !== undefined || array.is_output) parts.push(say("never_yet"));
        const readers = (array.readers.get(index) ?? []).filter((one) => one.moment <= at && (shown === null || one.block === shown));
        if (readers.length) parts.push(say("read_by", { threads: [...new Set(readers.map((one) => threadName(one, array)))].slice(0, 16).join(", ") }));
        if (array.is_output) parts.push(say("numpy_says", { value: full(launch.outputs[index - array.first].expected) }));
      }
    }
    return parts.join(" · ");
  }

  const threadName = (event, array) => (array.block !== undefined ? event.thread : fill(say("thread_of"), { block: blockOf(event.block)?.name ?? event.block, thread: event.thread }));
  const placeName = (name, index) => elementName(launch.buffers.find((one) => one.name === name) ?? { name }, index);

  // ---- Begin

  open(launchNumber);
  let resizing;
  const observer = new ResizeObserver(() => {
    clearTimeout(resizing);
    const fit = () => {
      if (Math.abs((root.clientWidth || width) - width) > 8 || !isPlaced) {
        draw();
        go(position);
      }
    };
    if (isPlaced) resizing = setTimeout(fit, 100);
    else fit(); // JupyterLab puts it into the page after it has been made
  });
  observer.observe(root);
  return {
    // Another launch in the place of one, or the same with other blocks.
    setLaunch(number, changed) {
      data.launches[number] = changed;
      if (number === launchNumber) open(number, shown);
    },
    // The lines of the sources are known now.
    setSources(found) {
      data.sources = found;
      drawSource();
      showLine(currentSteps());
    },
    refuse(why) {
      detail.textContent = why;
    },
    destroy() {
      stop();
      observer.disconnect();
    },
    go,
  };
}

// For JupyterLab, through anywidget.
export default {
  render({ model, el }) {
    const data = { ...structuredClone(model.get("data")), sources: model.get("sources") };
    const stepper = mount(el, data, (launch, block) => model.send({ launch, block }));
    const showSources = () => stepper.setSources(model.get("sources"));
    const hear = (message) => (message.refused ? stepper.refuse(message.refused) : stepper.setLaunch(message.number, message.launch));
    const showData = () => stepper.setLaunch(0, structuredClone(model.get("data").launches[0])); // of the what-if explorer
    model.on("change:data", showData);
    model.on("change:sources", showSources);
    model.on("msg:custom", hear);
    return () => {
      model.off("change:data", showData);
      model.off("change:sources", showSources);
      model.off("msg:custom", hear);
      stepper.destroy();
    };
  },
};

// ---- What happened to every cell

// Adds to the data: arrays with the history of each element (stores) and its readers, and steps by moment.
function prepare(raw) {
  const launch = { ...raw, byMoment: new Map(), arrays: new Map() };
  const array = (key, fields) => {
    const made = { ...fields, key, history: new Map(), readers: new Map(), outside: new Set() };
    launch.arrays.set(key, made);
    return made;
  };
  launch.buffers = raw.buffers.map((one) => array(one.name, { ...one, whole: one.count, count: one.values.length }));
  launch.output = launch.buffers.find((one) => one.is_output);
  launch.blocks = raw.blocks.map((block) => ({
    ...block,
    shared: block.shared.map((one) => array(`${block.number} ${one.name}`, { ...one, first: 0, block: block.number })),
  }));
  for (const step of raw.steps) {
    if (!launch.byMoment.has(step.moment)) launch.byMoment.set(step.moment, []);
    launch.byMoment.get(step.moment).push(step);
    const target = step.array && (launch.arrays.get(`${step.block} ${step.array}`) ?? launch.arrays.get(step.array));
    if (!target) continue;
    step.target = target;
    step.indices.forEach((index, row) => {
      const { moment, block } = step;
      const event = { moment, block, thread: step.threads[row], value: step.values?.[row], provenance: step.provenance?.[row], source: step.sources?.[row] };
      if (index < 0 || index >= (target.whole ?? target.count)) {
        target.outside.add(index);
        step.outside = true;
      }
      if (step.kind === "fault") return;
      if (step.kind !== "load") append(target.history, index, event);
      if (step.kind !== "store") append(target.readers, index, event);
    });
  }
  return launch;
}

const usersOf = (array, index) => [...(array.history.get(index) ?? []), ...(array.readers.get(index) ?? [])];

const lastBarrier = (launch, block, moment) => launch.steps.findLast((step) => step.kind === "barrier" && step.block === block && step.moment <= moment)?.moment;

// The arrows of a thread or a cell, as pairs of entities: what happened in this moment, and (`past`) before.
function relations(launch, entity, moment, shown) {
  const found = [];
  const arrow = (from, to, event) => found.push({ from, to, past: event.moment !== moment });
  const thread = (event) => ({ kind: "thread", block: event.block, thread: event.thread });
  const isDrawn = (event) => event.moment <= moment && (shown === null || event.block === shown);
  if (entity.kind === "thread") {
    for (const step of launch.steps) {
      if (step.block !== entity.block || !step.target || step.moment > moment) continue;
      step.threads.forEach((one, row) => {
        if (one !== entity.thread) return;
        const cell = { kind: "element", array: step.target, index: step.indices[row] };
        if (step.kind === "load" || (step.kind === "fault" && !step.is_store)) arrow(cell, entity, step);
        else arrow(entity, cell, step);
      });
    }
  } else {
    const { array, index } = entity;
    const store = array.history.get(index)?.findLast(isDrawn);
    const cell = { kind: "element", array, index, before: entity.before };
    if (store) {
      arrow(thread(store), cell, store);
      if (store.source && launch.arrays.has(store.source[0])) {
        arrow({ kind: "element", array: launch.arrays.get(store.source[0]), index: store.source[1] }, thread(store), store);
      }
      // What an output was made from.
      if (array.is_output) found.push(...relations(launch, thread(store), moment, shown).filter((one) => one.to.kind === "thread").map((one) => ({ ...one, past: true })));
    }
    for (const read of (array.readers.get(index) ?? []).filter(isDrawn)) arrow(cell, thread(read), read);
  }
  const past = found.filter((one) => one.past);
  return [...past.slice(-MAX_PAST_ARROWS), ...found.filter((one) => !one.past)];
}

// ---- The picture

// Places everything once; `at` then changes only what a moment changes.
function makeScene(launch, shown, available, id, say) {
  const blocks = launch.blocks.filter((one) => shown === null || one.number === shown);
  const { output } = launch;
  const isVector = output.row === null && launch.block[1] * launch.block[2] === 1 && launch.buffers.every((one) => one.row === null);
  const end = Math.max(
    ...launch.buffers.map((one) => columnsOf(one)),
    ...blocks.flatMap((one) => [one.first + one.threads, ...one.shared.map((array) => one.first + columnsOf(array))]),
  );
  const aligned = isVector && end <= MAX_COLUMNS && output.first === 0;
  const start = aligned && shown !== null ? Math.min(...blocks.map((one) => one.first)) : 0;
  const room = available - MARGIN - 34;
  const cell = aligned ? clamp(Math.floor(room / (end - start)), 24, 40) : 0;

  const back = svg("g"), body = svg("g"), over = svg("g", { class: "arrows" }), marks = svg("g", { class: "races" });
  const title = svg("title", {}, [launch.title, launch.score, ...launch.remarks].join(". "));
  let outputTop = 0;
  const picture = svg("svg", { role: "img", "aria-labelledby": `${id}title` }, title, definitions(id), back, body, marks, over);
  title.id = `${id}title`;
  const cells = []; // everything that may change
  const places = new Map(); // where an entity is drawn
  let y = 4, right = MARGIN;

  const text = (x, top, content, kind, anchor = "middle") => body.append(svg("text", { x, y: top, class: kind, "text-anchor": anchor }, content));
  const label = (content, top, kind = "label") => text(MARGIN - 10, top, content, kind, "end");

  // One row, or as many as are needed, of cells; `make` gives what belongs to each.
  function grid(count, first, x0, options, make) {
    const { across, down, perRow } = options;
    for (let number = 0; number < count; number++) {
      const x = x0 + (number % perRow) * across, top = y + Math.floor(number / perRow) * down;
      make(first + number, x, top);
      right = Math.max(right, x + across);
    }
    return (perRow === Infinity ? 1 : Math.ceil(count / perRow)) * down;
  }

  function place(entity, x, top, across, down) {
    places.set(keyOf(entity), { x, y: top, across, down });
  }

  function box(entity, x, top, across, down, kind) {
    const group = svg("g", { class: `cell ${kind}`, "data-key": cells.length });
    const rect = svg("rect", { x: x + 0.75, y: top + 0.75, width: across - 1.5, height: down - 1.5, rx: 2 });
    group.append(rect);
    body.append(group);
    const made = { entity, key: entity.numpy ? "" : keyOf({ ...entity, before: false }), group, x, y: top, across, down };
    cells.push(made);
    if (!entity.numpy) place(entity, x, top, across, down);
    return made;
  }

  function line(made, offset, kind, content = "") {
    const node = svg("text", { x: made.x + made.across / 2, y: made.y + offset, class: kind, "text-anchor": "middle" }, content);
    made.group.append(node);
    return node;
  }

  const write = (node, content, roomy) => {
    if (node.textContent === content) return;
    node.textContent = content;
    squeeze(node, roomy);
  };

  // A row of the block, unless that gives a tower.
  const rowOfBlock = (count) => (launch.block[0] >= 4 && launch.block[0] <= MAX_COLUMNS && count <= 8 * launch.block[0] ** 2 ? launch.block[0] : undefined);

  // Above the data: which block its elements belong to.
  function drawGrid() {
    if (!aligned) return;
    const spans = [...blocks.map((one) => ({ first: one.first, text: one.name, missing: false })), ...(shown === null ? launch.missing.map((one) => ({ ...one, missing: true })) : [])];
    const byFirst = new Map();
    for (const span of spans) append(byFirst, span.first, span);
    for (const [first, sharing] of byFirst) {
      const last = Math.min(first + launch.block[0], end);
      if (last <= first) continue;
      const x = columnX(first), x2 = columnX(last);
      const kind = sharing[0].missing ? "bracket missing" : "bracket";
      body.append(svg("path", { d: `M${x + 2} ${y + 20}v-5h${x2 - x - 4}v5`, class: kind }));
      text((x + x2) / 2, y + 11, sharing.length > 3 ? `${sharing[0].text} … (${sharing.length})` : sharing.map((one) => one.text).join(", "), sharing[0].missing ? "name missing" : "name");
    }
    label(say("grid"), y + 12);
    y += 24;
  }

  const columnX = (column) => MARGIN + (column - start) * cell;

  function sizes(array, count) {
    if (aligned) return { across: cell, perRow: Infinity, small: false };
    const many = count > MAX_LEGIBLE;
    const perRow = array.row ?? (many ? 2 * WRAP : Math.min(count <= 40 ? 40 : WRAP, Math.floor(room / 26)));
    const across = clamp(Math.floor(room / Math.min(perRow, count)), 8, many ? 13 : 34);
    return { across, perRow, small: across < 22 };
  }

  function drawBuffer(array, extra = {}) {
    const { across, perRow, small } = sizes(array, array.count);
    if (small && extra.numpy) return; // there is room for marks only
    const two = array.is_output && !extra.numpy; // the writer below the value
    const wide = Math.min(perRow, array.count) * across;
    // NumPy's matrix stands beside the output, where there is room.
    const beside = extra.numpy && !aligned && MARGIN + 2 * wide + 70 < available;
    const x0 = aligned ? columnX(start) : beside ? MARGIN + wide + 70 : MARGIN;
    const down = small ? across : two || beside ? 36 : 24;
    if (two) outputTop = y;
    if (beside) y = outputTop;
    const name = extra.numpy ? say("numpy") : array.name;
    text(aligned ? MARGIN - 10 : x0 - 10, y + (small ? 12 : down / 2 + 4), name, "label strong", "end");
    if (aligned && !extra.numpy) {
      for (let index = start; index < array.count; index++) text(columnX(index) + cell / 2, y + 9, String(index), "index");
      y += 12;
    }
    const from = aligned ? start : 0;
    const used = grid(Math.max(array.count - from, 0), array.first + from, x0, { across, down, perRow }, (index, x, top) => {
      const made = box({ kind: "element", array, index, ...extra }, x, top, across, down, "plain");
      if (small) {
        made.update = extra.numpy ? () => {} : globalUpdate(made, array, index, null, null);
      } else {
        const value = line(made, beside ? 22 : 16, "value");
        if (extra.numpy) write(value, short(launch.outputs[index - array.first].expected), across);
        made.update = extra.numpy ? () => {} : globalUpdate(made, array, index, value, two ? line(made, 30, "writer") : null);
      }
    });
    if (!extra.numpy) drawOutside(array, [...array.outside], (index) => usersOf(array, index), aligned ? columnX(0) : MARGIN, across, down, perRow);
    y += used + (aligned && extra.numpy ? 2 : 6);
  }

  // Elements that an array does not have, but that were asked for: beside it, where they would be, or at its end.
  function drawOutside(array, indices, users, x0, across, down, perRow) {
    const size = Math.max(across, 26);
    indices.sort((one, other) => one - other).slice(0, 12).forEach((index, number) => {
      const inLine = perRow === Infinity;
      const isNear = inLine && index >= 0 && index < array.count + 24;
      const column = isNear ? index : inLine ? array.count + 0.5 + number : Math.min(perRow, array.count) + 0.5;
      const x = x0 + column * across + (isNear ? 2 : 0), top = y + (inLine ? 0 : number * 24);
      const made = box({ kind: "element", array, index }, x, top, isNear ? size - 4 : size, Math.max(down, 22), "outside");
      write(line(made, 14, "value"), `[${index}]`, made.across);
      const threads = users(index).map((one) => one.thread);
      if (down > 30 && threads.length) write(line(made, 28, "writer"), `t${runs(threads)}`, made.across);
      made.update = (moment, hot) => setKind(made, `outside${hot ? ` hot ${hot}` : ""}`);
      right = Math.max(right, x + size);
    });
  }

  function globalUpdate(made, array, index, value, writer) {
    const initial = array.values[index - array.first];
    const expected = array.is_output ? launch.outputs[index - array.first] : null;
    return (moment, hot) => {
      const event = latest(array.history.get(index), moment);
      const isOver = moment >= (launch.steps.at(-1)?.moment ?? 0);
      let kind = "plain";
      const isElsewhere = !event && isOver && expected && expected.got !== null; // by a block that is not drawn
      if (isElsewhere) kind = `${expected.ok ? "right" : "wrong"} elsewhere`;
      else if (array.is_output) kind = event ? (expected.ok ? "right" : "wrong") : isOver ? "wrong never" : "empty";
      else if (event) kind = "overwritten";
      setKind(made, `${kind}${hot ? ` hot ${hot}` : ""}`);
      if (value) write(value, event ? short(event.value) : isElsewhere ? short(expected.got) : initial === null ? (isOver && array.is_output ? "✗" : "") : short(initial), made.across);
      const by = event && (launch.blocks.length > 1 && !aligned ? `b${event.block} t${event.thread}` : `t${event.thread}`);
      if (writer) write(writer, event ? (expected.ok ? by : `✗ ${by}`) : "", made.across);
    };
  }

  function drawBlock(block) {
    const top = y;
    const x0 = aligned ? columnX(block.first) : MARGIN;
    text(8, y + (aligned ? 20 : 16), block.name, "title", "start");
    y += aligned ? 6 : 24;
    drawThreads(block, x0);
    const hasBarrier = block.barriers > 0;
    if (block.shared.length) {
      if (hasBarrier) {
        drawArrays(block, x0, true);
        drawBarrier(block, x0);
      }
      drawArrays(block, x0, false);
      if (!hasBarrier) {
        label(launch.no_barrier, y + 8, "label soft");
        y += 14;
      }
    }
    back.append(svg("rect", { x: 2, y: top, width: 0, height: y - top + 4, rx: 4, class: "panel" }));
    y += 14;
  }

  function drawThreads(block, x0) {
    const many = block.threads > MAX_LEGIBLE;
    const perRow = aligned ? Infinity : rowOfBlock(block.threads) ?? (many ? 2 * WRAP : WRAP);
    const across = aligned ? cell : clamp(Math.floor(room / perRow), 8, many ? 13 : 26), down = aligned ? 20 : across >= 18 ? 18 : Math.max(across * 0.75, 10);
    label(say("threads"), y + Math.min(down / 2 + 4, 14));
    const idle = new Set(block.idle);
    const used = grid(block.threads, 0, x0, { across, down, perRow }, (thread, x, top) => {
      const made = box({ kind: "thread", block: block.number, thread }, x, top, across, down, "thread");
      const kind = idle.has(thread) ? "thread idle" : "thread";
      if (across >= 18) squeeze(line(made, down / 2 + 3.5, "thread", `t${thread}`), across);
      made.update = (moment, hot) => setKind(made, `${kind}${hot ? ` hot ${hot}` : ""}`);
    });
    y += used + 6;
  }

  // The first shared array, and where there is room beside it the others: after it, or before it if that needs no scrolling.
  function drawArrays(block, x0, before) {
    const [first, ...others] = block.shared;
    const top = y;
    let bottom = drawShared(first, block, x0, before);
    const seen = start + Math.floor(room / cell);
    let left = block.first - 2, beyond = block.first + columnsOf(first) + 3;
    for (const array of others) {
      const columns = columnsOf(array);
      const fitsLeft = aligned && left - columns - 3 >= start;
      if (aligned && beyond + columns <= (fitsLeft ? Math.min(end, seen) : end)) {
        y = top;
        drawShared(array, block, columnX(beyond), before);
        beyond += columns + 3;
      } else if (fitsLeft) {
        y = top;
        drawShared(array, block, columnX(left - columns), before);
        left -= columns + 3;
      } else {
        y = bottom;
        bottom = drawShared(array, block, x0, before);
      }
    }
    y = bottom;
  }

  function drawShared(array, block, x0, before) {
    const many = array.count > MAX_LEGIBLE;
    const perRow = aligned ? Infinity : launch.block[1] > 1 && array.count % launch.block[0] === 0 && rowOfBlock(array.count) ? launch.block[0] : many ? 2 * WRAP : array.count <= 40 ? 40 : WRAP;
    const across = aligned ? cell : clamp(Math.floor(room / Math.min(perRow, array.count)), 8, many ? 13 : 32);
    const small = across < 22;
    const down = small ? across : 44;
    const isFirst = array === block.shared[0];
    if (aligned && !isFirst && x0 !== columnX(block.first)) text(x0 - 5, y + 15, array.name, "label strong", "end");
    else label(array.name, y + (small ? 11 : 15), "label strong");
    if (!small && isFirst) label(before ? say("written_row") : say("read_row"), y + 30, "label soft");
    const used = grid(array.count, 0, x0, { across, down, perRow }, (index, x, top) => {
      const entity = { kind: "element", array, index, ...(before ? { before: true } : {}) };
      const made = box(entity, x, top, across, down, "empty");
      const value = small ? null : line(made, 13, "value"), word = small ? null : line(made, 25.5, "word"), who = small ? null : line(made, 38.5, "writer");
      made.update = (moment, hot) => {
        const barrier = latest(block.openings, moment)?.moment;
        const waits = !before && block.barriers > 0 && barrier === undefined;
        const event = waits ? null : latest(array.history.get(index), before ? (barrier ?? moment) : moment);
        const provenance = PROVENANCES[event?.provenance ?? "n"];
        const glows = hot && (before ? barrier === undefined : !waits);
        const isAsked = !waits && !event && latest(array.readers.get(index), moment);
        setKind(made, `${waits ? "waiting" : provenance}${isAsked ? " asked" : ""}${glows ? ` hot ${hot}` : ""}`);
        if (!value) return;
        write(value, event ? short(event.value) : "", across);
        const by = event && !block.barriers ? ` t${event.thread}` : ""; // else it stands above the barrier
        write(word, waits ? "" : `${say(provenance)}${by}`, across);
        if (before) write(who, event ? `t${event.thread}` : "", across);
        else write(who, waits ? "" : runs((array.readers.get(index) ?? []).filter((one) => one.moment <= moment).map((one) => one.thread)), across);
      };
    });
    // Above the barrier stands who wrote, below it who read.
    const hasBarrier = block.barriers > 0;
    const users = (index) => (!hasBarrier ? usersOf(array, index) : (before ? array.history : array.readers).get(index) ?? []);
    const isHere = (index) => users(index).length || (!before && !array.history.has(index)); // nobody got to what ended the launch
    drawOutside(array, [...array.outside].filter(isHere), users, x0, across, down, perRow);
    y += used + 2;
    if (aligned && before === (block.barriers > 0)) {
      for (let index = 0; index < array.count; index++) text(x0 + (index + 0.5) * cell, y + 9, `[${index}]`, "index");
      y += 13;
    }
    return y;
  }

  function drawBarrier(block, x0) {
    const x2 = aligned ? x0 + Math.max(block.threads, ...block.shared.map((one) => one.count)) * cell : MARGIN + room;
    const made = { entity: null, key: "" };
    made.group = svg("g", { class: "barrier closed" }, svg("line", { x1: x0, x2, y1: y + 8, y2: y + 8 }));
    const name = svg("text", { x: MARGIN - 10, y: y + 12, "text-anchor": "end", class: "label soft" });
    made.group.append(name);
    body.append(made.group);
    made.update = (moment) => {
      const opened = block.openings.filter((one) => one.moment <= moment);
      const isNow = opened.at(-1)?.moment === moment;
      made.group.setAttribute("class", `barrier ${opened.length ? "open" : "closed"}${isNow ? " hot" : ""}`);
      write(name, block.barriers > 1 ? say("barrier_of", { number: opened.length, count: block.barriers }) : say("barrier"), 1000);
    };
    cells.push(made);
    y += 18;
  }

  function drawMissing() {
    for (const one of shown === null ? launch.missing : []) {
      if (aligned) {
        const x = columnX(one.first), x2 = columnX(Math.min(one.first + launch.block[0], end));
        body.append(svg("rect", { x: x + 1, y, width: Math.max(x2 - x - 2, 4), height: 24, rx: 3, class: "missing" }));
        const inside = x2 - x > 120;
        text(inside ? (x + x2) / 2 : x - 6, y + 16, one.text, "name missing", inside ? "middle" : "end");
        y += 30;
      }
    }
  }

  function drawRaces() {
    for (const race of launch.races) {
      const pair = race.threads.map(([block, thread]) => places.get(keyOf({ kind: "thread", block, thread })));
      const target = launch.arrays.get(`${race.threads[0][0]} ${race.array}`) ?? launch.arrays.get(race.array);
      const goal = target && places.get(keyOf({ kind: "element", array: target, index: race.index }));
      if (goal) marks.append(svg("rect", { x: goal.x - 1, y: goal.y - 1, width: goal.across + 2, height: goal.down + 2, class: "race" }));
      if (pair.every(Boolean) && pair[0] !== pair[1]) {
        const [from, to] = pair.map(middle);
        const link = svg("path", { d: `M${from.x} ${from.y - 9}C${from.x} ${from.y - 30} ${to.x} ${to.y - 30} ${to.x} ${to.y - 9}`, class: "race" });
        link.append(svg("title", {}, race.text));
        marks.append(link);
      }
    }
  }

  for (const block of blocks) block.openings = launch.steps.filter((step) => step.kind === "barrier" && step.block === block.number);
  drawGrid();
  for (const array of launch.buffers) if (array !== output) drawBuffer(array);
  y += 6;
  for (const block of blocks) drawBlock(block);
  drawMissing();
  drawBuffer(output);
  drawBuffer(output, { numpy: true });
  drawRaces();
  const total = Math.max(right + 14, Math.min(available - 20, MARGIN + 500));
  for (const panel of back.children) panel.setAttribute("width", total - 4);
  picture.setAttribute("viewBox", `0 0 ${total} ${y + 6}`);
  picture.setAttribute("width", total);
  picture.setAttribute("height", y + 6);

  return {
    svg: picture,
    at(moment, steps) {
      const hot = new Map();
      for (const step of steps) {
        const how = step.kind === "fault" ? "fault" : step.kind === "load" ? "reading" : "writing";
        if (step.kind === "barrier") continue;
        for (const thread of step.threads) hot.set(keyOf({ kind: "thread", block: step.block, thread }), how);
        if (step.target) for (const index of step.indices) {
          hot.set(keyOf({ kind: "element", array: step.target, index }), step.unwritten?.includes(index) ? "reading alarm" : how);
        }
      }
      for (const one of cells) one.update(moment, hot.get(one.key));
    },
    entity(node) {
      const group = node.closest?.("[data-key]");
      return group ? cells[Number(group.getAttribute("data-key"))].entity : null;
    },
    select(entity) {
      for (const one of body.querySelectorAll(".selected")) one.classList.remove("selected");
      if (!entity) return;
      const wanted = [keyOf(entity), ...(entity.made ? [keyOf(entity.made)] : [])];
      for (const one of cells) if (one.entity && !one.entity.numpy && wanted.includes(keyOf(one.entity))) one.group.classList.add("selected");
    },
    arrows(pairs) {
      over.replaceChildren(
        ...pairs.flatMap(({ from, to, past }) => {
          const [one, other] = [from, to].map((entity) => places.get(keyOf(entity)) ?? places.get(keyOf({ ...entity, before: !entity.before })));
          return one && other ? [svg("path", { d: curve(one, other), class: past ? "past" : "present", "marker-end": `url(#${id}${past ? "past" : "present"})` })] : [];
        }),
      );
    },
    legend(hasTimeline) {
      const found = new Set(launch.steps.flatMap((step) => [...(step.provenance ?? "")]));
      const never = blocks.some((block) => block.shared.some((array) => range(array.count).some((index) => !array.history.has(index))));
      const kinds = Object.entries(PROVENANCES).filter(([letter]) => found.has(letter) || (letter === "n" && never)).map(([, name]) => name);
      const marks = [["load", "global"], ["load", "shared"], ["store", "global"], ["barrier", ""]].filter(([kind, space]) => launch.steps.some((step) => step.kind === kind && (space !== "shared" || step.space === space)));
      const entries = kinds.map((name) => [name, say(`${name}_long`)]);
      if (blocks.some((one) => one.idle.length)) entries.push(["thread idle", launch.idle]);
      if (launch.buffers.some((one) => !one.is_output && one.history.size)) entries.push(["overwritten", say("overwritten")]);
      if (!launch.right) entries.push(["wrong", say("wrong_output")]);
      if (launch.buffers.some((one) => one.outside.size) || blocks.some((one) => one.shared.some((array) => array.outside.size))) entries.push(["outside", say("outside")]);
      if (launch.races.length) entries.push(["race", say("race")]);
      const entry = (width, drawn, words) => html("span", { class: "entry" }, svg("svg", { width, height: 16, "aria-hidden": "true" }, drawn), words);
      return [
        ...entries.map(([kind, words]) => entry(22, svg("g", { class: `cell ${kind}` }, svg("rect", { x: 1, y: 1, width: 20, height: 14, rx: 2 })), words)),
        ...(hasTimeline ? marks : []).map(([kind, space]) => entry(12, markOf(kind, space, 6, 10, -6), say(kind === "load" ? `mark_load_${space}` : `mark_${kind}`))),
      ];
    },
  };
}

// What stands for a step above the slider.
function markOf(kind, space, x, span, y) {
  if (kind === "barrier") return svg("rect", { x: x - 1.5, y: Math.max(y, 0), width: 3, height: 22, class: "mark barrier" });
  const down = kind === "load" ? 8 : 14;
  return svg("rect", { x: x - span / 2, y: y + 20 - down, width: span, height: down, rx: 1.5, class: `mark ${kind} ${space}` });
}

function columnsOf(array) {
  const near = [...array.outside].filter((index) => index >= 0 && index < array.count + 24);
  return Math.max(array.count, ...near.map((index) => index + 1));
}

function definitions(id) {
  const hatch = (name, angle, gap) => svg("pattern", { id: name, width: gap, height: gap, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${angle})` }, svg("line", { x1: 0, y1: 0, x2: 0, y2: gap, class: "hatch" }));
  const head = (name) => svg("marker", { id: `${id}${name}`, viewBox: "0 0 8 8", refX: 6.5, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" }, svg("path", { d: "M0 0.8L7 4L0 7.2z", class: `head ${name}` }));
  // The hatches look the same in every stepper of a page, so that all may share them.
  return svg("defs", {}, hatch("stepper-never", 45, 5), hatch("stepper-idle", -45, 4), head("past"), head("present"));
}

function curve(from, to) {
  const one = middle(from), other = middle(to);
  const down = other.y > one.y;
  const y1 = one.y + (down ? from.down : -from.down) / 2 * 0.8, y2 = other.y + (down ? -to.down : to.down) / 2;
  const bend = Math.min(Math.abs(y2 - y1) / 2, 60);
  return `M${one.x} ${y1}C${one.x} ${y1 + (down ? bend : -bend)} ${other.x} ${y2 + (down ? -bend : bend)} ${other.x} ${y2}`;
}

const middle = (place) => ({ x: place.x + place.across / 2, y: place.y + place.down / 2 });
const keyOf = (entity) => (entity.kind === "thread" ? `t ${entity.block} ${entity.thread}` : `e ${entity.array.key} ${entity.index}${entity.before ? " before" : ""}`);
const same = (one, other) => Boolean(one && other && keyOf(one) === keyOf(other));
const setKind = (made, kind) => {
  if (made.shownKind === kind) return;
  made.shownKind = kind;
  const selected = made.group.classList.contains("selected") ? " selected" : "";
  made.group.setAttribute("class", `cell ${kind}${selected}`);
};

// Letters are made narrower, not smaller, where a text would not fit.
function squeeze(node, across) {
  const room = across - 7, content = node.textContent;
  if (content.length * WIDE_LETTER > room && widthOf(content) > room) {
    node.setAttribute("textLength", room);
    node.setAttribute("lengthAdjust", "spacingAndGlyphs");
  } else if (node.hasAttribute("textLength")) node.removeAttribute("textLength");
}

// Measured outside of the page, which need not be laid out for it.
const measure = document.createElement("canvas").getContext("2d");
const widths = new Map();

function widthOf(content) {
  if (!widths.has(content)) widths.set(content, measure.measureText(content).width);
  return widths.get(content);
}

// ---- Small things

function latest(events, moment) {
  if (!events) return undefined;
  let low = 0, high = events.length; // how many are not later
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle].moment <= moment) low = middle + 1;
    else high = middle;
  }
  return events[low - 1];
}

function elementName(array, index) {
  if (typeof index === "string") return index;
  return array.row ? `${array.name}[${Math.floor(index / array.row)}, ${index % array.row}]` : `${array.name}[${index}]`;
}

function runs(numbers) {
  const found = [];
  for (const number of [...new Set(numbers)].sort((one, other) => one - other)) {
    if (found.length && found.at(-1)[1] === number - 1) found.at(-1)[1] = number;
    else found.push([number, number]);
  }
  const text = found.slice(0, 3).map(([low, high]) => (low === high ? `${low}` : `${low}–${high}`)).join(", ");
  return found.length > 3 ? `${text} …` : text;
}

function short(value) {
  if (typeof value === "string" || value === null || value === undefined) return value ?? "";
  if (Math.abs(value) < 10000 && value === Math.round(value)) return String(value === 0 ? 0 : value);
  if (Math.abs(value) >= 0.005 && Math.abs(value) < 1000) return value.toFixed(Math.abs(value) < 10 ? 2 : 1);
  return value.toExponential(0).replace("e+", "e");
}

const full = (value) => (typeof value === "number" ? String(Number(value.toPrecision(7))) : String(value ?? ""));
const readable = (ptx) => ptx.replace(/[\w$]+_\$__global_alloc_(\d+)_\$__gpu_shared_mem/g, "shared_$1");
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const range = (count) => Array.from({ length: count }, (_, number) => number);

function append(map, key, value) {
  if (map.has(key)) map.get(key).push(value);
  else map.set(key, [value]);
}

function element(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function svg(name, attributes = {}, ...children) {
  return element(document.createElementNS(SVG, name), attributes, children);
}

function html(name, attributes = {}, ...children) {
  return element(document.createElement(name), attributes, children);
}

const ICONS = {
  first: "M3 3h2v10h-2zM14 3v10l-8-5z",
  back: "M12 3v10l-8-5z",
  play: "M4 2v12l10-6z",
  pause: "M4 3h3v10h-3zM9 3h3v10h-3z",
  on: "M4 3v10l8-5z",
  last: "M11 3h2v10h-2zM2 3v10l8-5z",
};

function button(icon, words, act) {
  const made = html("button", { type: "button" });
  setIcon(made, icon, words);
  made.addEventListener("click", act);
  return made;
}

function setIcon(made, icon, words) {
  made.setAttribute("aria-label", words);
  made.title = words;
  made.replaceChildren(svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" }, svg("path", { d: ICONS[icon] })));
}

function labelled(words, field) {
  field.setAttribute("aria-label", words);
  return html("label", {}, `${words} `, field);
}

function select(entries, act) {
  const made = html("select");
  options(made, entries);
  made.addEventListener("change", () => act(made.value));
  return made;
}

function options(field, entries) {
  field.replaceChildren(...entries.map(([value, words]) => html("option", { value }, words)));
}
