// The bank: a grid of prompts. A tap plays a slot; with "Edit" pressed, or on an empty slot, it opens it.

import { el } from "./controls.js";

const SLOTS_A_PAGE = 16;
const STEPS = { prev: ["‹", "previous slot"], next: ["›", "next slot"], random: ["⤨", "another slot"] };

const $ = (id) => document.getElementById(id);
let save = () => {};
let page = 0;

$("edit").addEventListener("click", () => isEditing(!isEditing()));
$("slot").addEventListener("close", () => { if ($("slot").returnValue === "save") save(); });

function isEditing(is) {
  if (is !== undefined) $("edit").setAttribute("aria-pressed", is);
  return $("edit").getAttribute("aria-pressed") === "true";
}

/** Fill the bank's place from the namespace. */
export function bank(link) {
  const slots = Object.keys(link.methods).map((path) => path.match(/^\/ltx\/bank\/(\d+)\/connect$/)?.[1]).filter(Boolean);
  $("bank").hidden = slots.length === 0;
  for (const [name, [sign, title]] of Object.entries(STEPS)) {
    if (!(`/ltx/bank/${name}` in link.methods)) continue;
    const it = el("button", { type: "button", "aria-label": title }, sign);
    it.addEventListener("click", () => link.send(`/ltx/bank/${name}`));
    $("steps").append(it);
  }
  for (let first = 0; first < slots.length; first += SLOTS_A_PAGE) {
    const some = slots.slice(first, first + SLOTS_A_PAGE);
    $("slots").append(el("div.page", {}, ...some.map((slot) => slotButton(link, slot))));
    const tab = el("button", { type: "button" }, `${some[0]}–${some.at(-1)}`);
    tab.addEventListener("click", () => turnTo(first / SLOTS_A_PAGE));
    $("pages").append(tab);
  }
  turnTo(Math.min(page, $("pages").children.length - 1));
}

function turnTo(number) {
  page = number;
  for (const id of ["pages", "slots"]) {
    [...$(id).children].forEach((each, index) => each.classList.toggle("on", index === page));
  }
}

function slotButton(link, slot) {
  const at = (name) => `/ltx/bank/${slot}/${name}`;
  const title = el("span");
  const it = el("button.slot", { type: "button", "data-slot": slot }, el("small", {}, slot), title);
  const show = () => {
    const [name, text] = [link.values[at("name")], link.values[at("text")]];
    title.textContent = name || text || "";
    it.title = text ?? "";
    it.classList.toggle("empty", !text);
  };
  const playing = () => {
    const isChosen = Number(slot) === link.values["/ltx/bank/selected"];
    it.classList.toggle("chosen", isChosen);
    it.classList.toggle("pending", isChosen && Boolean(link.values["/ltx/status/prompt_pending"]));
  };
  link.listen(at("name"), show);
  link.listen(at("text"), show);
  link.listen("/ltx/bank/selected", playing);
  link.listen("/ltx/status/prompt_pending", playing);
  it.addEventListener("click", () => {
    if (isEditing() || !link.values[at("text")]) open(link, slot);
    else link.send(at("connect"));
  });
  return it;
}

/** Open a slot for editing; an empty one is offered what is in the prompt field. */
function open(link, slot) {
  const at = (name) => `/ltx/bank/${slot}/${name}`;
  $("slot-title").textContent = `Slot ${slot}`;
  $("slot-name").value = link.values[at("name")] ?? "";
  $("slot-text").value = link.values[at("text")] || $("text").value;
  save = () => {
    link.send(at("name"), $("slot-name").value.trim());
    link.send(at("text"), $("slot-text").value.trim());
  };
  $("slot").returnValue = "";
  $("slot").showModal();
}
