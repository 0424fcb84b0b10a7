// The connection to the show: its namespace by HTTP, values both ways by WebSocket. It comes back by itself.

import { decode, encode } from "./osc.js";

const RETRY_MS = 700;
const SILENCE_MS = 4000;  // the status changes all the time, so this long without a word is suspicious

export class Link {
  /** `onTree(methods, tree)` is called with the namespace at each connection, `onState(isOnline)` when that changes. */
  constructor({ onTree, onState, onMessage }) {
    Object.assign(this, { onTree, onState, onMessage });
    this.methods = {};
    this.values = {};
    this.listeners = new Map();
    this.waiting = new Map();
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.look(); });
    addEventListener("online", () => this.look());
    setInterval(() => this.look(), SILENCE_MS / 2);
    this.connect();
  }

  get isOnline() { return this.socket?.readyState === WebSocket.OPEN; }

  async connect() {
    clearTimeout(this.timer);
    this.isConnecting = true;
    this.heardAt = performance.now();
    try {
      const answer = await fetch("/ltx", { signal: AbortSignal.timeout(SILENCE_MS) });
      const tree = await answer.json();
      this.methods = Object.fromEntries(flatten(tree));
      for (const [path, method] of Object.entries(this.methods)) this.values[path] = method.VALUE?.[0];
      this.listeners.clear();
      this.onTree(this.methods, tree);
      this.open();
    } catch { this.retry(); }
  }

  open() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.isConnecting = false;
      this.heardAt = performance.now();
      for (const path of this.listeners.keys()) this.command("LISTEN", path);
      this.onState(true);
    };
    socket.onmessage = ({ data }) => {
      this.heardAt = performance.now();
      for (const [address, args] of decode(data)) this.take(address, args);
    };
    socket.onclose = () => { if (socket === this.socket) this.retry(); };
    this.socket = socket;
  }

  retry() {
    this.isConnecting = false;
    this.onState(false);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), RETRY_MS);
  }

  /** Ask a silent show whether it is there; give a dead connection up. A phone that wakes up comes here, too. */
  look() {
    const silent = performance.now() - this.heardAt;
    if (this.isConnecting && silent < 2 * SILENCE_MS) return;
    if (!this.isOnline) {
      this.connect();
    } else if (silent > 2 * SILENCE_MS) {
      const dead = this.socket;
      this.socket = null;
      dead.close();
      this.retry();
    } else if (silent > SILENCE_MS) {
      this.socket.send(encode("/ltx/sys/ping", "i", 1));
    }
  }

  take(address, args) {
    if (!(address in this.methods)) return this.onMessage(address, args);
    const isNumber = this.methods[address].TYPE !== "s";
    const value = isNumber && typeof args[0] === "string" ? null : args[0];
    this.values[address] = value;
    for (const show of this.listeners.get(address) ?? []) show(value);
  }

  command(name, path) { this.socket.send(JSON.stringify({ COMMAND: name, DATA: path })); }

  /** Call `show` with the value of a path now and whenever it changes. */
  listen(path, show) {
    if (!(path in this.methods)) return;
    const shows = this.listeners.get(path);
    if (shows) shows.push(show);
    else {
      this.listeners.set(path, [show]);
      if (this.isOnline) this.command("LISTEN", path);
    }
    show(this.values[path]);
  }

  /** Send a value. What cannot be sent now is dropped: a tap must not take effect when nobody expects it any more. */
  send(path, value) {
    if (!this.isOnline) return false;
    const { TYPE: type } = this.methods[path];
    this.socket.send(encode(path, type, value));
    if (type === "I") return true;
    this.values[path] = value;
    for (const show of this.listeners.get(path) ?? []) show(value);
    return true;
  }

  /** Send a value with the next animation frame, of several only the newest. */
  stream(path, value) {
    if (this.waiting.size === 0) {
      requestAnimationFrame(() => {
        for (const [each, newest] of this.waiting) this.send(each, newest);
        this.waiting.clear();
      });
    }
    this.waiting.set(path, value);
  }
}

function* flatten(node) {
  if (node.TYPE) yield [node.FULL_PATH, node];
  for (const child of Object.values(node.CONTENTS ?? {})) yield* flatten(child);
}
