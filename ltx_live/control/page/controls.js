// One control for each method of the namespace, chosen by its type and range alone.

const HOLD_MS = 700;
const LONGEST_SLIDER = 1000;  // an integer with more values than this is typed
const MOST_SEGMENTS = 3;

/** An element: `el("button.big", {type: "button"}, "text", child)`. */
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A number as it is shown: as many places as its range needs. */
export function format(value, span = 1) {
  if (value == null) return "–";
  const places = span > 500 ? 0 : span > 20 ? 1 : 2;
  return Number.isInteger(value) ? String(value) : value.toFixed(places);
}

export const words = (name) => name.replaceAll("_", " ");

/** The control of a method, null for what can only be read. `method` is its node, `title` what to call it. */
export function control(link, method, title) {
  if (!(method.ACCESS & 2)) return null;
  const range = method.RANGE?.[0] ?? {};
  const row = el("div.control", { "data-path": method.FULL_PATH, title: method.DESCRIPTION });
  const build = method.TYPE === "I" ? button
    : range.VALS ? (range.VALS.length <= MOST_SEGMENTS ? segments : menu)
    : method.TYPE === "s" ? textField
    : method.TYPE === "i" && range.MIN === 0 && range.MAX === 1 ? toggle
    : isSlider(method, range) ? slider : numberField;
  build(link, method, title, row);
  if (method.LTX_TIER === "reload") row.append(el("small", {}, "takes effect at the next start"));
  return row;
}

const isSlider = ({ TYPE }, { MIN, MAX }) =>
  MIN != null && MAX != null && (TYPE === "f" || MAX - MIN <= LONGEST_SLIDER);

function label(link, method, title, row) {
  const name = el("label", {}, title);
  if ("LTX_DEFAULT" in method) {
    name.addEventListener("dblclick", () => link.send(method.FULL_PATH, method.LTX_DEFAULT[0]));
  }
  row.append(name);
  return name;
}

function button(link, method, title, row) {
  row.classList.add("press");
  const it = el("button", { type: "button" }, title);
  it.addEventListener("click", () => link.send(method.FULL_PATH));
  row.append(it);
}

function toggle(link, method, title, row) {
  row.classList.add("line");
  label(link, method, title, row);
  const it = el("button.switch", { type: "button", role: "switch", "aria-label": title });
  it.addEventListener("click", () => link.send(method.FULL_PATH, it.getAttribute("aria-checked") === "true" ? 0 : 1));
  link.listen(method.FULL_PATH, (value) => it.setAttribute("aria-checked", Boolean(value)));
  row.append(it);
}

function segments(link, method, title, row) {
  label(link, method, title, row);
  const group = el("div.segments", { role: "radiogroup", "aria-label": title });
  for (const choice of method.RANGE[0].VALS) {
    const it = el("button", { type: "button", role: "radio", "data-choice": choice }, words(choice));
    it.addEventListener("click", () => link.send(method.FULL_PATH, choice));
    group.append(it);
  }
  link.listen(method.FULL_PATH, (value) => {
    for (const it of group.children) it.setAttribute("aria-checked", it.dataset.choice === value);
  });
  row.append(group);
}

function menu(link, method, title, row) {
  row.classList.add("line");
  label(link, method, title, row);
  const it = el("select", { "aria-label": title });
  it.append(...method.RANGE[0].VALS.map((choice) => el("option", { value: choice }, words(choice))));
  it.addEventListener("change", () => link.send(method.FULL_PATH, it.value));
  link.listen(method.FULL_PATH, (value) => { it.value = value; });
  row.append(it);
}

function textField(link, method, title, row) {
  label(link, method, title, row);
  const it = el("input", { type: "text", "aria-label": title, autocomplete: "off", autocapitalize: "off" });
  typed(link, method, it, (text) => text, (value) => value ?? "");
  row.append(it);
}

function numberField(link, method, title, row) {
  row.classList.add("line");
  label(link, method, title, row);
  const it = el("input.number", { type: "text", inputmode: "decimal", "aria-label": title });
  typed(link, method, it, readNumber, (value) => format(value, 1));
  row.append(it, unit(method));
}

/** A field whose text is sent when it is left or Enter is pressed; Escape gives it up. */
function typed(link, method, field, read, show) {
  const value = () => show(link.values[method.FULL_PATH]);
  field.addEventListener("focus", () => field.select());
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") field.value = value();
    if (event.key === "Escape" || event.key === "Enter") field.blur();
  });
  field.addEventListener("change", () => {
    const sent = read(field.value);
    if (sent == null) field.value = value();
    else link.send(method.FULL_PATH, sent);
  });
  field.addEventListener("blur", () => { field.value = value(); });
  link.listen(method.FULL_PATH, () => { if (document.activeElement !== field) field.value = value(); });
}

function readNumber(text) {
  const value = Number(text.trim().replace(",", "."));
  return text.trim() === "" || !Number.isFinite(value) ? null : value;
}

const unit = (method) => el("span.unit", {}, method.UNIT?.[0] ?? "");

function slider(link, method, title, row) {
  const { MIN: low, MAX: high } = method.RANGE[0];
  const path = method.FULL_PATH;
  row.classList.add("fader");
  const field = el("input.number", { type: "text", inputmode: "decimal", "aria-label": `${title}, as a number` });
  typed(link, method, field, readNumber, (value) => format(value, high - low));
  const head = el("div.head");
  label(link, method, title, head);
  head.append(field, unit(method));
  const it = el("input", { type: "range", min: low, max: high, step: method.TYPE === "i" ? 1 : "any", "aria-label": title });
  const rest = low < 0 && high > 0 ? 0 : low;
  const place = (value) => `${100 * (value - low) / (high - low)}%`;
  const show = (value) => {
    it.style.setProperty("--from", place(Math.min(value, rest)));
    it.style.setProperty("--to", place(Math.max(value, rest)));
  };
  let isHeld = false;
  const release = () => {
    isHeld = false;
    it.value = link.values[path];
    show(Number(it.value));
  };
  it.addEventListener("pointerdown", () => { isHeld = true; });
  for (const end of ["pointerup", "pointercancel", "change"]) it.addEventListener(end, () => setTimeout(release, 50));
  it.addEventListener("input", () => { show(Number(it.value)); link.stream(path, Number(it.value)); });
  link.listen(path, (value) => {
    if (isHeld) return;
    it.value = value;
    show(value);
  });
  row.append(head, it);
}

/** Call `act` when a button was pressed for HOLD_MS; meanwhile it has the class "holding". */
export function onHold(it, act) {
  let timer;
  const end = () => { clearTimeout(timer); it.classList.remove("holding"); };
  it.addEventListener("pointerdown", () => {
    it.classList.add("holding");
    timer = setTimeout(() => { end(); act(); }, HOLD_MS);
  });
  for (const name of ["pointerup", "pointerleave", "pointercancel"]) it.addEventListener(name, end);
  it.addEventListener("contextmenu", (event) => event.preventDefault());
}
