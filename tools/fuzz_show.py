"""Sends a playing show what nobody would send, for minutes: fuzz_show.py [SECONDS] [SEED]

It must answer every ping, print no traceback, and not grow; the exit status is 1 where it does not. Linux alone tells
how much memory the show has.
"""

import random
import re
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

from ltx_live import params
from ltx_live.bench.tour import Player
from ltx_live.control.osc import encode_message

RATE_HZ = 300
PING_S = 5.0
MOST_GROWTH = 1.1
WORDS = ["", "?", "+", "-", "*", "on", "now", "é" * 40, "../../etc", "/dev/zero", "camera:9", "a\nb", "\x7f", "x" * 900]
NUMBERS = [0, 1, -1, 2**31 - 1, -(2**31), 0.5, 1e30, -1e-30, float("nan"), float("inf"), True, False]


def packet(chance: random.Random) -> bytes:
    """A message to an address that is there with any arguments, a bundle of such, one that is damaged, or noise."""
    kind = chance.random()
    if kind < 0.02:
        return chance.randbytes(chance.randrange(1, 200))
    if kind < 0.1:
        parts = [packet(chance) for _ in range(chance.randrange(4))]
        sized = b"".join(struct.pack(">i", len(part)) + part for part in parts)
        return b"#bundle\x00" + struct.pack(">Q", chance.choice((0, 1, chance.getrandbits(64)))) + sized
    root = chance.choice(("/ltx/", "/ltx/", "/ltx/norm/", "/ltx/status/", "/ltx/sys/", "/composition/"))
    name = chance.choice(NAMES)
    if chance.random() < 0.05:
        name = re.sub(r"\d+|[a-z]+$", chance.choice(("*", "?", "[1-3]", "{a,b}", "999")), name)
    args = [chance.choice((*WORDS, *NUMBERS, chance.uniform(-2, 2))) for _ in range(chance.randrange(4))]
    made = encode_message(root + name, args)
    if kind < 0.15:
        place = chance.randrange(len(made))
        return made[:place] + chance.randbytes(chance.randrange(4)) + made[place + chance.randrange(4) :]
    return made


NAMES = [name for name in params.concrete_names() if not name.startswith(("rec/", "sys/quit"))]


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def main(seconds: float, seed: int) -> int:
    """Send, and look every five seconds whether the show still answers."""
    chance, failures, memory = random.Random(seed), [], []
    with tempfile.TemporaryDirectory() as home:
        player = Player(Path(home), ["--model", "testcard", "--size", "64x64"])
        player.wait_for("first picture", 60)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        begin_s, num_sent = time.perf_counter(), 0
        while (now_s := time.perf_counter() - begin_s) < seconds and not failures:
            udp.sendto(packet(chance), ("127.0.0.1", player.port))
            num_sent += 1
            if num_sent % (RATE_HZ * PING_S) == 0:
                if answers(player.port, num_sent):
                    memory.append(memory_mb(player.pid))
                else:
                    failures += [f"no answer to a ping after {now_s:.0f} s; it said last:", *player.lines[-30:]]
            time.sleep(max(0.0, begin_s + num_sent / RATE_HZ - time.perf_counter()))
        player.close()
    said = "".join(player.lines)
    faults = dict.fromkeys(re.findall(r"Traceback.*?\n(?=\S)[^\n]*\n", said, re.S))
    third = len(memory) // 3
    growth = max(memory[-third:]) / max(memory[:third]) if third else 1.0
    print(f"seed {seed}: {num_sent} packets in {seconds:g} s, memory {memory[:1]} to {memory[-1:]} MB, x {growth:.2f}")
    print("\n".join((*failures, *faults)))
    return int(bool(failures or faults or growth > MOST_GROWTH))


def answers(port: int, number: int) -> bool:
    """Whether a ping is answered within PING_S."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(PING_S)
        udp.sendto(encode_message("/ltx/sys/ping", (number,)), ("127.0.0.1", port))
        try:
            return b"pong" in udp.recv(65535)
        except TimeoutError:
            return False


if __name__ == "__main__":
    sys.exit(main(float((sys.argv[1:2] or [600])[0]), int((sys.argv[2:3] or [1])[0])))
