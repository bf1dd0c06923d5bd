"""Checkpoints by their id on the hub: the hub's own client, and a hub on this machine."""

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmjax.conversion.formats.hub import fetch

CLIP = Path(__file__).parents[1] / "golden" / "checkpoints" / "clip"
COMMIT = "c" * 40
ASK = """
import sys, mmjax
for name in sys.argv[1:]:
    try:
        print("found", mmjax.load(name).family)
    except (ValueError, OSError) as error:
        print(type(error).__name__, str(error).replace(chr(10), " "))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories owner/name under `root`, of one revision "v1"; `fetched`: whole files."""

    protocol_version = "HTTP/1.1"
    root: Path
    fetched: set[str]

    def do_GET(self):  # noqa: N802  the name that the server calls
        path = self.path.partition("?")[0]
        if listing := re.fullmatch(r"/api/models/(\w+/\w+)/tree/(\w+)", path):
            self._answer(*listing.groups(), lambda files: [_described(one) for one in files])
        elif info := re.fullmatch(r"/api/models/(\w+/\w+)/revision/(\w+)", path):
            names = lambda files: [{"rfilename": one.name} for one in files]  # noqa: E731
            self._answer(*info.groups(), lambda files: {"sha": COMMIT, "siblings": names(files)})
        elif file := re.fullmatch(r"/(\w+/\w+)/resolve/(\w+)/(.+)", path):
            content = (self.root / file[1] / file[3]).read_bytes()
            if self.command == "GET":
                self.fetched.add(file[3])
            self._send(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"')
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, name, revision, made):
        folder = self.root / name
        if not folder.is_dir() or revision not in ("v1", COMMIT):
            return self.send_error(404)
        body = made(sorted(folder.iterdir()))
        body = {"id": name, **body} if isinstance(body, dict) else body
        return self._send(json.dumps(body).encode(), **{"Content-Type": "application/json"})

    def _send(self, content, **headers):
        self.send_response(200)
        headers |= {"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def _described(file):
    return {"type": "file", "oid": "0" * 40, "size": file.stat().st_size, "path": file.name}


@pytest.fixture
def hub(tmp_path):
    """The handler of a running server, and the environment of a process that asks it."""
    handler = type("Handler", (Hub,), {"root": tmp_path / "hub", "fetched": set()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    home = str(tmp_path / "home")
    here = {"HF_ENDPOINT": url, "HF_HOME": home, "HF_HUB_CACHE": f"{home}/hub"}
    yield handler, os.environ | here | {"HF_HUB_OFFLINE": "0", "NO_PROXY": "*", "no_proxy": "*"}
    server.shutdown()
    server.server_close()


def asked(environment, *names):
    """What `mmjax.load` says of each name, in a process of its own."""
    command = [sys.executable, "-c", ASK, *names]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert out.returncode == 0, out.stderr
    return out.stdout.splitlines()


def test_only_what_is_read_is_fetched_and_is_there_without_a_network(hub):
    handler, environment = hub
    shutil.copytree(CLIP, handler.root / "someone" / "clip")
    for name in ("pytorch_model.bin", "flax_model.msgpack", "a.onnx"):
        (handler.root / "someone" / "clip" / name).write_bytes(b"large")
    (handler.root / "someone" / "old").mkdir()
    (handler.root / "someone" / "old" / "pytorch_model.bin").write_bytes(b"large")
    names = ("someone/clip@v1", "someone/clip@v2", "someone/old@v1", "someone/nothing")
    found, revision, pickle, nothing = asked(environment, *names)
    assert found == "found clip" and handler.fetched == {"config.json", "model.safetensors"}
    assert "'someone/clip@v2' cannot be fetched from the hub (" in revision
    assert pickle.startswith("CheckpointFileError someone/old@v1 holds its weights as pytorch_")
    assert "FileNotFoundError there is no folder 'someone/nothing' here, and " in nothing
    handler.fetched.clear()
    offline = environment | {"HF_HUB_OFFLINE": "1"}
    found, other = asked(offline, "someone/clip@v1", "someone/old@v1")
    assert found == "found clip" and not handler.fetched
    (weights,) = (handler.root.parent / "home").glob("hub/models--*/snapshots/*/model.safetensors")
    weights.unlink()  # a config alone, as other programs fetch it, is no checkpoint
    assert "cannot be fetched from the hub (OfflineMode" in asked(offline, "someone/clip@v1")[0]
    assert "FileNotFoundError there is no folder 'someone/old@v1' here" in other


def test_what_can_be_no_name():
    for name in ("a/b/c", "a b", "clip@", "../clip/"):
        with pytest.raises(FileNotFoundError, match="and no checkpoint on the hub is so"):
            fetch(name)
