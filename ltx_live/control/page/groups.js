// Every value that has no place of its own, by the first word of its path.

import { control, el, format, words } from "./controls.js";

const GENERAL = "generation";
const TITLES = {
  out: "Picture", audio: "Sound", prompts: "Mix of prompts", prompt: "Parts of the prompt", lora: "LoRA",
  av: "Picture and sound", tempo: "Tempo", rec: "Recording", window: "Window", sys: "System", land: "Where changes land",
  cue: "Cues", snap: "Snapshots", mod: "Modulators", react: "Reacting to sound", midi: "MIDI", image: "First frame",
  ref: "Guide", audioin: "Driving sound", bank: "Bank", osc: "OSC", [GENERAL]: "Generation",
};
const FIRST = ["out", "audio", "prompts", "prompt", "lora", "tempo", "rec"];
const LAST = [GENERAL, "land", "av", "window", "midi", "osc", "sys"];
const OPEN_AT_FIRST = ["out", "audio"];
const LIST = "/ltx/lora/list";  // answered by a message for each LoRA file
const NEEDS_WORDS = /^\/ltx\/(.*\/)?(seek|drop|goto|list|track\/\d+)$/;  // verbs that mean nothing without an argument
const PLACED = /^\/ltx\/(status\/|bank\/(\d+\/|selected$|next$|prev$|random$)|sys\/(panic|ping|dump|(un)?subscribe|hold|quit)$)/;

const MOST_FRAMES = 8;  // of numbered things; more of them are closed until one is wanted

/** Fill a place with a collapsible group for each branch of the tree; `placed` paths are shown elsewhere. */
export function groups(link, tree, place, placed) {
  const found = new Map();
  const add = (group, item) => found.set(group, [...(found.get(group) ?? []), item]);
  for (const [name, node] of Object.entries(tree.CONTENTS)) {
    if (node.TYPE) add(GENERAL, [name, { ...node, CONTENTS: undefined }]);
    for (const child of Object.entries(node.CONTENTS ?? {})) add(name, child);
  }
  for (const group of ordered([...found.keys()])) {
    const body = el("div.body");
    const nodes = found.get(group);
    const isLong = nodes.filter(([name]) => isNumber(name)).length > MOST_FRAMES;
    for (const [name, node] of nodes) body.append(...items(link, name, node, placed, isLong));
    if (body.childElementCount) place.append(collapsible(group, body));
  }
  place.append(collapsible("status", status(link)));
}

const isNumber = (name) => /^\d+$/.test(name);

/** The controls of a node and of all below it; what is numbered gets a frame of its own, closed where it is one of many. */
function items(link, name, node, placed, isLong) {
  const isPlaced = placed.includes(node.FULL_PATH) || PLACED.test(node.FULL_PATH);
  const own = node.TYPE && !isPlaced && !isMute(node) ? control(link, node, words(name)) : null;
  if (own && /^\/ltx\/lora\/\d+\/name$/.test(node.FULL_PATH)) suggestFiles(link, own.querySelector("input"));
  const below = Object.entries(node.CONTENTS ?? {}).flatMap(([child, childNode]) =>
    items(link, isNumber(name) ? child : words(`${name} ${child}`), childNode, placed, isLong));
  if (isNumber(name) && below.length) return [frame(link, name, node, below, isLong)];
  return own ? [own, ...below] : below;
}

const isMute = (node) => node.TYPE === "I" && NEEDS_WORDS.test(node.FULL_PATH);

/** A field that offers the LoRA files that are there when it is entered. */
function suggestFiles(link, field) {
  field.setAttribute("list", "lora-files");
  field.addEventListener("focus", () => {
    document.getElementById("lora-files").replaceChildren();
    if (LIST in link.methods) link.send(LIST);
  });
}

function frame(link, number, node, below, isLong) {
  if (!isLong) return el("fieldset", {}, el("legend", {}, number), ...below);
  const title = el("summary", {}, number);
  link.listen(`${node.FULL_PATH}/name`, (name) => { title.textContent = name ? `${number}  ${name}` : number; });
  return el("details.nested", {}, title, el("div.body", {}, ...below));
}

/** Everything that the show tells of itself. */
function status(link) {
  const list = el("dl");
  for (const [path, { TYPE: type, DESCRIPTION: title, UNIT: unit }] of Object.entries(link.methods)) {
    if (!path.startsWith("/ltx/status/")) continue;
    const value = el("dd");
    list.append(el("dt", {}, title), value);
    link.listen(path, (now) => {
      value.textContent = type === "s" ? now || "–" : `${format(now)} ${(now != null && unit?.[0]) || ""}`;
    });
  }
  return list;
}

function ordered(names) {
  const rank = (name) => {
    if (FIRST.includes(name)) return FIRST.indexOf(name) - FIRST.length;
    return LAST.includes(name) ? 1 + LAST.indexOf(name) : 0;
  };
  return names.map((name, index) => [rank(name), index, name]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((it) => it[2]);
}

function collapsible(group, body) {
  const key = `open ${group}`;
  const stored = localStorage.getItem(key);
  const isOpen = stored === null ? OPEN_AT_FIRST.includes(group) : stored === "1";
  const title = TITLES[group] ?? words(group[0].toUpperCase() + group.slice(1));
  const it = el("details.group", { open: isOpen, "data-group": group }, el("summary", {}, title), body);
  it.addEventListener("toggle", () => localStorage.setItem(key, it.open ? "1" : "0"));
  return it;
}
