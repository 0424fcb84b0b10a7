// The remote page: what is played, the prompt, the bank, every other value by group, and what stops the show.
// Everything is built from the namespace at each connection; only what index.html holds itself stays.

import { bank } from "./bank.js";
import { el, onHold } from "./controls.js";
import { groups } from "./groups.js";
import { Link } from "./link.js";
import { meters } from "./meters.js";

const $ = (id) => document.getElementById(id);
const PROMPT = "/ltx/prompt", PANIC = "/ltx/sys/panic", BLACKOUT = "/ltx/out/blackout", MUTE = "/ltx/audio/mute";
const ACTIONS = { "/ltx/pause": "Pause", "/ltx/out/freeze": "Freeze", [BLACKOUT]: "Blackout" };
const NOTICE_MS = 6000;

const link = new Link({
  onTree(methods, tree) {
    for (const id of ["meters", "steps", "pages", "slots", "groups", "actions"]) $(id).replaceChildren();
    now();
    meters(link, $("meters"));
    prompt();
    bank(link);
    groups(link, tree, $("groups"), [PROMPT, ...Object.keys(ACTIONS)]);
    actions();
  },
  onState(isOnline) {
    document.body.classList.toggle("offline", !isOnline);
    if (!isOnline) $("state").textContent = "no connection, trying again";
  },
  onMessage(address, args) {
    if (address === "/ltx/error") notice(args[1] ?? args[0]);
    if (address === "/ltx/prompt/understood") understood(...args);
    if (address === "/ltx/lora/file") $("lora-files").append(el("option", { value: args[0] }, args.slice(1, 3).join(" ")));
  },
});

function now() {
  const status = (name, show) => link.listen(`/ltx/status/${name}`, show);
  const value = (name) => link.values[`/ltx/status/${name}`];
  const pending = () => {
    const what = value("prompt_pending") || value("pending");
    const seconds = value("landing_s");
    const when = seconds == null ? "next" : `in ${Math.max(0, seconds).toFixed(1)} s`;
    $("pending").replaceChildren(...(what ? [el("b", {}, when), el("span", {}, what)] : []));
  };
  status("state", (state) => { if (state) $("state").textContent = state; document.body.dataset.state = state; });
  status("detail", (detail) => { $("detail").textContent = detail ?? ""; });
  status("clock_s", (seconds) => { $("clock").textContent = clock(seconds ?? 0); });
  status("mode", (text) => { $("mode").textContent = text ?? ""; });
  status("prompt_applied", (text) => { $("applied").textContent = text || "–"; });
  for (const name of ["prompt_pending", "pending", "landing_s"]) status(name, pending);
}

function clock(seconds) {
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(seconds / 60 % 60)}:${two(seconds % 60)}`;
}

// The text field is a draft: it follows the prompt until somebody writes in it, and again when that was sent.

let isDraft = false;

function prompt() {
  link.listen(PROMPT, (text) => {
    if (!isDraft) $("text").value = text ?? "";
    fit();
  });
  draft(isDraft);
}

function understood(known, unknown) {
  const parts = [known && `understood: ${known}`, unknown && `not understood: ${unknown}`];
  $("understood").textContent = parts.filter(Boolean).join(" · ");
}

/** The field is as high as its text, up to a third of the screen. */
function fit() {
  const it = $("text");
  it.style.height = "";
  if (it.scrollHeight > it.clientHeight) it.style.height = `${Math.min(it.scrollHeight + 2, innerHeight / 3)}px`;
}

function draft(is) {
  isDraft = is;
  fit();
  $("prompt").classList.toggle("draft", is);
}

$("text").addEventListener("input", () => { draft(true); $("understood").textContent = ""; });
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Escape") { $("text").value = link.values[PROMPT] ?? ""; draft(false); }
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  $("prompt").requestSubmit();
});
$("prompt").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!link.send(PROMPT, $("text").value.trim())) return notice("no connection: the prompt was not sent");
  draft(false);
  $("text").blur();
});

function actions() {
  for (const [path, title] of Object.entries(ACTIONS)) {
    if (!(path in link.methods)) continue;
    const it = el("button.action", { type: "button", "aria-pressed": "false", "data-path": path }, title);
    it.addEventListener("click", () => link.send(path, it.getAttribute("aria-pressed") === "true" ? 0 : 1));
    link.listen(path, (value) => it.setAttribute("aria-pressed", Boolean(value)));
    $("actions").append(it);
  }
  if (PANIC in link.methods) $("actions").append(panic());
}

/** Panic acts at once; what takes it back must be held, so that nobody's sleeve does. */
function panic() {
  const it = el("button.action.panic", { type: "button", id: "panic" });
  const isOver = () => link.values[BLACKOUT] && link.values[MUTE];
  const show = () => {
    it.classList.toggle("over", Boolean(isOver()));
    it.textContent = isOver() ? "Hold to return" : "PANIC";
  };
  let wasOver = false;
  it.addEventListener("pointerdown", () => { wasOver = isOver(); if (!wasOver) link.send(PANIC); });
  it.addEventListener("keydown", (event) => { if (event.key === "Enter") link.send(PANIC); });
  onHold(it, () => { if (wasOver) for (const path of [BLACKOUT, MUTE]) link.send(path, 0); });
  link.listen(BLACKOUT, show);
  link.listen(MUTE, show);
  show();
  return it;
}

let noticeTimer;

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { $("notice").hidden = true; }, NOTICE_MS);
}

$("notice").addEventListener("click", () => { $("notice").hidden = true; });
