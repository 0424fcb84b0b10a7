// The status as meters: what is there of it is shown, levels of sound as bars.

import { el } from "./controls.js";

const LOWEST_DB = -60;
const LONG_BUFFER_S = 4;

const seconds = (value) => (value == null ? "–" : `${value.toFixed(value < 10 ? 2 : 1)} s`);
const METERS = [  // name, what it is called, how it is written, how full its bar is (0 to 1)
  ["buffer_s", "buffer", seconds, (value) => value / LONG_BUFFER_S],
  ["latency_s", "latency", seconds],
  ["chunk_s", "chunk time T", seconds],
  ["real_time_factor", "speed", (value) => (value == null ? "–" : `${value.toFixed(1)}×`)],
  ["bpm", "tempo", (value) => (value == null ? "–" : value.toFixed(1))],
  ["num_underruns", "underruns", (value) => String(value ?? 0)],
];

/** Fill a place with the meters of a namespace. */
export function meters(link, place) {
  const known = METERS.filter(([name]) => `/ltx/status/${name}` in link.methods);
  for (const [name, title, write, fill] of [...levels(link), ...known]) {
    const value = el("b");
    const it = el("div.meter", { "data-name": name }, el("span", {}, title), value);
    const bar = fill && el("i");
    if (bar) it.append(bar);
    if (name === "bpm") it.append(beats(link));
    place.append(it);
    link.listen(`/ltx/status/${name}`, (now) => {
      value.textContent = write(now);
      bar?.style.setProperty("--fill", Math.min(1, Math.max(0, now == null ? 0 : fill(now))));
      if (name === "num_underruns") it.classList.toggle("bad", now > 0);
      if (name === "buffer_s") it.classList.toggle("bad", now != null && now < (link.values["/ltx/status/output_latency_s"] ?? 0) + 0.05);
    });
  }
}

/** Whatever the status calls a level: decibels, or 0 to 1. */
function levels(link) {
  const paths = Object.keys(link.methods).filter((path) => /^\/ltx\/status\/.*level/.test(path));
  return paths.filter((path) => link.methods[path].TYPE === "f").map((path) => {
    const name = path.split("/").at(-1);
    const title = name.replace(/_db$/, "").replaceAll("_", " ");
    if (!name.endsWith("_db")) return [name, title, (value) => (value ?? 0).toFixed(2), (value) => value];
    return [name, title, (value) => (value == null ? "–" : `${value.toFixed(0)} dB`), (value) => 1 - value / LOWEST_DB];
  });
}

/** A dot for each beat of the bar, the present one lit. */
function beats(link) {
  const dots = el("span.beats");
  link.listen("/ltx/tempo/beats_per_bar", (count) => {
    dots.replaceChildren(...Array.from({ length: count ?? 0 }, () => el("i")));
  });
  link.listen("/ltx/status/beat", (beat) => {
    [...dots.children].forEach((dot, index) => dot.classList.toggle("on", index === Math.floor(beat ?? 0) - 1));
  });
  return dots;
}
