"""The real download code in processes of its own, against a server that speaks the Hugging Face Hub's protocol."""

import hashlib
import http.server
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub.utils import WeakFileLock

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_the_test"
BIG = random.Random(1).randbytes(6_000_000)
SMALL = b'{"model_type": "test"}'

RUN = """
import json, signal, sys
from pathlib import Path
from ltx_live.errors import LtxLiveError
from ltx_live.weights import catalogue, download

signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored
download.RETRY_DELAY_S = 0.05
task = json.loads(sys.argv[1])
licence = catalogue.Licence("Test Terms", "https://example.org/terms")
for name, files in task["sets"].items():
    found = []
    for repo, path, num_bytes, sha256, gated in files:
        repository = catalogue.Repository(repo, task["revision"], licence, gated)
        found.append(catalogue.HubFile(repository, path, num_bytes, sha256))
    catalogue.SETS[name] = catalogue.ModelSet(name, "a test", tuple(found))
try:
    for name in task["names"]:
        report = lambda item, stage, done: print(stage, item.file.place, done, flush=True)
        download.fetch(catalogue.SETS[name], Path(task["home"]), report, task["offline"])
except LtxLiveError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


class Hub(http.server.ThreadingHTTPServer):
    """A hub: large files are on another host, behind a redirect, and in Xet storage too; small ones are in git."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {"org/repo/big.safetensors": BIG, "org/repo/config.json": SMALL}
        self.etags: dict[str, str] = {}  # where they are not the sha256 of the file
        self.refusal: tuple[int, str] | None = None  # status and X-Error-Code for every file
        self.ranges = True
        self.stop_at: int | None = None  # send so many bytes, then nothing until `go_on`
        self.cuts = 0  # so many transfers break off in the middle
        self.go_on = threading.Event()
        self.log: list[dict[str, str]] = []

    @property
    def port(self) -> int:
        return self.server_address[1]

    def transfers(self) -> list[dict[str, str]]:
        """The requests for a large file's bytes."""
        return [each for each in self.log if each["method"] == "GET" and each["path"].startswith("/cdn/")]


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    do_GET = do_HEAD

    def answer(self) -> None:
        path = urlsplit(self.path).path
        seen = {key: self.headers.get(key, "") for key in ("Range", "Authorization", "Host")}
        self.server.log.append({"method": self.command, "path": path, **seen})
        if path.startswith("/cdn/"):
            return self.send(self.server.files[path.removeprefix("/cdn/")], {})
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        name = f"{repo}/{rest.partition('/')[2]}"
        if self.server.refusal is not None:
            return self.refuse(*self.server.refusal)
        if name not in self.server.files:
            return self.refuse(404, "EntryNotFound")
        content = self.server.files[name]
        facts = {"X-Repo-Commit": COMMIT}
        if len(content) < 1000:
            return self.send(content, facts | {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'})
        self.send_response(302)
        facts["X-Linked-ETag"] = f'"{self.server.etags.get(name) or hashlib.sha256(content).hexdigest()}"'
        facts |= {"X-Linked-Size": str(len(content)), "X-Xet-Hash": "1" * 64, "Content-Length": "0"}
        facts["Location"] = f"http://localhost:{self.server.port}/cdn/{name}"
        for key, value in facts.items():
            self.send_header(key, value)
        self.end_headers()

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, content: bytes, facts: dict[str, str]) -> None:
        start = 0
        if self.server.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        for key, value in (facts | {"Content-Length": str(len(content) - start)}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.cuts and len(content) > 1000:
            self.server.cuts -= 1
            self.wfile.write(content[start : start + 2_500_000])
            self.close_connection = True
            return
        stop = self.server.stop_at
        if stop is not None and len(content) > stop:
            self.wfile.write(content[start:stop])
            self.wfile.flush()
            self.server.go_on.wait(20)
            start = stop
        self.wfile.write(content[start:])


@pytest.fixture
def hub():
    server = Hub()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def big(**changes) -> list:
    """The catalogue's row of the large file."""
    row = {"repo": "org/repo", "path": "big.safetensors", "num_bytes": len(BIG), "sha256": sha256(BIG), "gated": False}
    return list((row | changes).values())


SMALL_ROW = ["org/repo", "config.json", len(SMALL), None, False]


def environment(hub: Hub | None, home: Path, **more: str) -> dict[str, str]:
    """That of the suite without its hub settings, with the test's server, and with no login of this machine's user."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    endpoint = f"http://127.0.0.1:{hub.port if hub else 9}"
    return kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf"), "NO_PROXY": "*"} | more


def task(home: Path, *rows: list, sets: dict | None = None, offline: bool = False, revision: str = COMMIT) -> list[str]:
    """The command that fetches these files of the hub, or these sets one after the other."""
    sets = sets or {"test-set": rows}
    about = {"sets": sets, "names": list(sets), "home": str(home), "offline": offline, "revision": revision}
    return [sys.executable, "-c", RUN, json.dumps(about)]


def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)


def refused(command: list[str], env: dict[str, str]) -> str:
    """The one line with which a command fails."""
    done = run(command, env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def folder(home: Path) -> Path:
    return home / "models" / "test-set"


def names(home: Path) -> list[str]:
    return sorted(path.name for path in folder(home).iterdir())


def test_files_arrive_at_their_places_checked_and_the_token_goes_to_the_hub_alone(hub, tmp_path):
    done = run(task(tmp_path, big(), SMALL_ROW), environment(hub, tmp_path, HF_TOKEN=TOKEN))
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["big.safetensors", "config.json"]
    assert (folder(tmp_path) / "big.safetensors").read_bytes() == BIG
    assert (folder(tmp_path) / "config.json").read_bytes() == SMALL
    assert f"fetching big.safetensors {len(BIG)}\nchecking big.safetensors" in done.stdout
    at_the_hub = [each for each in hub.log if each["path"].startswith("/org/")]
    assert {each["Authorization"] for each in at_the_hub} == {f"Bearer {TOKEN}"}
    assert all(f"/resolve/{COMMIT}/" in each["path"] for each in at_the_hub)
    assert [(each["Authorization"], each["Range"]) for each in hub.transfers()] == [("", "")]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_transfer_goes_on_where_it_stopped(hub, tmp_path, how):
    hub.stop_at = 4_500_000
    env = environment(hub, tmp_path)
    process = subprocess.Popen(task(tmp_path, big()), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit_s = time.monotonic() + 20
    while not (parts := list(tmp_path.glob("models/*/*.part"))) or parts[0].stat().st_size < 3_000_000:
        assert process.poll() is None and time.monotonic() < limit_s
        time.sleep(0.02)
    process.send_signal(how)
    assert process.wait(20) != 0
    begun = parts[0].stat().st_size
    assert names(tmp_path) == [parts[0].name]
    assert 3_000_000 <= begun < 4_500_000
    hub.stop_at = None
    hub.go_on.set()
    done = run(task(tmp_path, big()), env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"fetching big.safetensors {begun}\n")
    assert [each["Range"] for each in hub.transfers()] == ["", f"bytes={begun}-"]
    assert names(tmp_path) == ["big.safetensors"]
    assert sha256((folder(tmp_path) / "big.safetensors").read_bytes()) == sha256(BIG)


def test_what_is_complete_is_not_asked_for_again(hub, tmp_path):
    env = environment(hub, tmp_path)
    assert run(task(tmp_path, big(), SMALL_ROW), env).returncode == 0
    hub.log.clear()
    done = run(task(tmp_path, big(), SMALL_ROW), env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"complete big.safetensors {len(BIG)}", f"complete config.json {len(SMALL)}"]
    assert hub.log == []


def test_a_broken_connection_is_taken_up_again_by_itself(hub, tmp_path):
    hub.cuts = 2
    done = run(task(tmp_path, big()), environment(hub, tmp_path))
    assert done.returncode == 0, done.stderr
    ranges = [each["Range"] for each in hub.transfers()]
    assert ranges[0] == "" and len(ranges) == 3 and all(each.startswith("bytes=") for each in ranges[1:])
    assert (folder(tmp_path) / "big.safetensors").read_bytes() == BIG


def test_a_server_without_ranges_gives_the_whole_file_anew(hub, tmp_path):
    hub.cuts, hub.ranges = 1, False
    done = run(task(tmp_path, big()), environment(hub, tmp_path))
    assert done.returncode == 0, done.stderr
    assert (folder(tmp_path) / "big.safetensors").read_bytes() == BIG


def test_the_begun_part_of_a_file_that_changed_on_the_hub_is_not_used(hub, tmp_path):
    hub.stop_at, hub.cuts = None, 0
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "big.safetensors.ffffffffffffffff.part").write_bytes(b"x" * 1_000_000)
    done = run(task(tmp_path, big(sha256=None)), environment(hub, tmp_path))
    assert done.returncode == 0, done.stderr
    assert [each["Range"] for each in hub.transfers()] == [""]
    assert names(tmp_path) == ["big.safetensors"]


def test_a_file_of_two_sets_is_fetched_once(hub, tmp_path):
    done = run(task(tmp_path, sets={"one": [big()], "two": [big(), SMALL_ROW]}), environment(hub, tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(hub.transfers()) == 1
    one, two = (tmp_path / "models" / name / "big.safetensors" for name in ("one", "two"))
    assert two.read_bytes() == BIG
    assert one.samefile(two)


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize(("status", "code"), [(401, "GatedRepo"), (403, "GatedRepo"), (401, ""), (403, "")])
def test_a_gated_repository_says_what_to_accept_where(hub, tmp_path, status, code, token):
    hub.refusal = (status, code)
    more = {"HF_TOKEN": token} if token else {}
    text = refused(task(tmp_path, big(gated=True)), environment(hub, tmp_path, **more))
    for words in (
        "org/repo is gated",
        "accept the Test Terms at https://huggingface.co/org/repo",
        "https://huggingface.co/settings/tokens",
        "HF_TOKEN",
    ):
        assert words in text
    assert ("the token that was sent has no access" in text) == bool(token)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((404, "EntryNotFound"), "big.safetensors is not at https://huggingface.co/org/repo"),
        ((404, "RepoNotFound"), "is not at https://huggingface.co/org/repo"),
        ((404, "RevisionNotFound"), f"(revision {COMMIT[:12]}) any more: update ltx-live"),
        ((403, ""), "refuses the token"),
        ((503, ""), "answers 503 for big.safetensors; run the command again later"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub, tmp_path, refusal, words):
    hub.refusal = refusal
    assert words in refused(task(tmp_path, big()), environment(hub, tmp_path))


def test_a_transfer_that_always_breaks_is_one_line_and_keeps_what_has_come(hub, tmp_path):
    hub.stop_at = 3_500_000
    env = environment(hub, tmp_path, HF_HUB_DOWNLOAD_TIMEOUT="1")
    text = refused(task(tmp_path, big(), SMALL_ROW), env)
    assert "no connection to http://127.0.0.1" in text and "what has arrived is kept" in text
    assert list(tmp_path.glob("models/*/*.part"))[0].stat().st_size >= 3_000_000


def test_without_a_network_it_says_so(tmp_path):
    assert "no connection to http://127.0.0.1:9" in refused(task(tmp_path, big()), environment(None, tmp_path))


def test_a_damaged_file_is_not_kept(hub, tmp_path):
    hub.files["org/repo/big.safetensors"] = BIG[:-1] + bytes([BIG[-1] ^ 1])
    hub.etags["org/repo/big.safetensors"] = sha256(BIG)
    assert "big.safetensors arrived damaged" in refused(task(tmp_path, big()), environment(hub, tmp_path))
    assert names(tmp_path) == []


def test_without_a_known_sha256_the_hub_s_own_is_checked(hub, tmp_path):
    hub.etags["org/repo/big.safetensors"] = "0" * 64
    assert "arrived damaged" in refused(task(tmp_path, big(sha256=None)), environment(hub, tmp_path))


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"num_bytes": len(BIG) + 1}])
def test_another_file_than_the_catalogue_s_is_not_fetched(hub, tmp_path, change):
    text = refused(task(tmp_path, big(**change)), environment(hub, tmp_path))
    assert "is not the file that this version of ltx-live knows" in text
    assert hub.transfers() == []


def test_too_little_disk_space_is_said_before_anything_is_asked(hub, tmp_path):
    text = refused(task(tmp_path, big(num_bytes=10**18)), environment(hub, tmp_path))
    assert "test-set needs 1000000000.0 GB, " in text and f"GB are free in {tmp_path}" in text
    assert hub.log == []


@pytest.mark.parametrize("by", ["option", "environment"])
def test_offline_uses_what_is_there_and_names_what_is_missing(hub, tmp_path, by):
    assert run(task(tmp_path, big()), environment(hub, tmp_path)).returncode == 0
    hub.log.clear()
    env = environment(hub, tmp_path, **({"HF_HUB_OFFLINE": "1"} if by == "environment" else {}))
    assert run(task(tmp_path, big(), offline=by == "option"), env).returncode == 0
    text = refused(task(tmp_path, big(), SMALL_ROW, offline=by == "option"), env)
    assert "offline, and test-set lacks 1 files (0.00 GB): config.json" in text
    assert hub.log == []


def test_a_second_download_into_the_same_home_waits_its_turn(hub, tmp_path):
    (tmp_path / "models").mkdir()
    with WeakFileLock(tmp_path / "models" / ".download.lock"):
        text = refused(task(tmp_path, big()), environment(hub, tmp_path))
    assert f"another download into {tmp_path / 'models'} is running" in text
    assert hub.log == []


def test_the_command_itself_ends_with_one_line(hub, tmp_path):
    command = [sys.executable, "-m", "ltx_live", "models", "download", "ltx-2.3", "--home", str(tmp_path)]
    done = run(command, environment(hub, tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("ltx-live: diffusion_models/ltx-2.3-22b-distilled-1.1_transformer_only_fp8_scaled")
    assert "is not at https://huggingface.co/Kijai/LTX2.3_comfy" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "LTX-2 Community License, https://" in done.stdout
