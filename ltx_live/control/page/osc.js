// OSC 1.0 messages, as far as the namespace uses them: i, f, s and what carries no data. Bundles are read, not written.

const utf8 = new TextEncoder();
const text = new TextDecoder();

const padded = (length) => (length >> 2 << 2) + 4;  // with its ending zero, to a multiple of 4

function string(value) {
  const bytes = utf8.encode(value);
  const data = new Uint8Array(padded(bytes.length));
  data.set(bytes);
  return data;
}

function number(value, type) {
  const view = new DataView(new ArrayBuffer(4));
  if (type === "i") view.setInt32(0, Math.round(value));
  else view.setFloat32(0, value);
  return new Uint8Array(view.buffer);
}

/** One message with at most one argument, whose type tag is the method's. */
export function encode(address, type, value) {
  const data = type === "s" ? [string(String(value))] : type === "i" || type === "f" ? [number(value, type)] : [];
  const parts = [string(address), string("," + type), ...data];
  const packet = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { packet.set(part, at); at += part.length; }
  return packet;
}

/** The messages of a packet, as [address, arguments]. Throws RangeError for what is cut off. */
export function decode(buffer, start = 0, end = buffer.byteLength) {
  const view = new DataView(buffer);
  let at = start;
  const readString = () => {
    let stop = at;
    while (stop < end && view.getUint8(stop)) stop++;
    const value = text.decode(new Uint8Array(buffer, at, stop - at));
    at += padded(stop - at);
    return value;
  };
  const address = readString();
  if (address === "#bundle") {
    const messages = [];
    for (at = start + 16; at < end;) {
      const size = view.getInt32(at);
      messages.push(...decode(buffer, at + 4, at + 4 + size));
      at += 4 + size;
    }
    return messages;
  }
  const readers = {
    i: () => view.getInt32((at += 4) - 4),
    f: () => view.getFloat32((at += 4) - 4),
    s: readString,
    T: () => 1, F: () => 0, N: () => null,
  };
  const tags = at < end ? readString().slice(1) : "";
  return [[address, [...tags].map((tag) => readers[tag]?.())]];
}
