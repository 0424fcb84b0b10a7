// Every value that has no place of its own, by the first word of its path.

import { control, el, words } from "./controls.js";

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
const PLACED = /^\/ltx\/(status\/|bank\/(\d+\/|selected$|next$|prev$|random$)|sys\/(panic|ping|dump)$)/;

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
    for (const [name, node] of found.get(group)) body.append(...items(link, name, node, placed));
    if (body.childElementCount) place.append(collapsible(group, body));
  }
}

/** The controls of a node and of all below it; what is numbered gets a frame of its own. */
function items(link, name, node, placed) {
  const isPlaced = placed.includes(node.FULL_PATH) || PLACED.test(node.FULL_PATH);
  const own = node.TYPE && !isPlaced ? control(link, node, words(name)) : null;
  const below = Object.entries(node.CONTENTS ?? {}).flatMap(([child, childNode]) =>
    items(link, /^\d+$/.test(name) ? child : `${name} ${child}`, childNode, placed));
  if (/^\d+$/.test(name) && below.length) return [el("fieldset", {}, el("legend", {}, name), ...below)];
  return own ? [own, ...below] : below;
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
