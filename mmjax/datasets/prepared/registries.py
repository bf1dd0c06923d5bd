"""Where this machine gets packages from: the clients it has, and the addresses they are set to.

* npm, pypi and debian packages come through `npm pack`, `pip download`, `apt-get download`: the
  client knows the machine's proxies, certificates, mirrors and log-ins.
* Where the client is absent or fails, the file is fetched over HTTP(S) from the registry that the
  client's configuration names: environment variables, then its files. No address is written here;
  whoever has neither client nor configuration sets the variable that the message names.
* A client's own default registry is only known to the client, so it needs no configuration.
"""

import configparser
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

HOW_TO = {  # what to do where neither client nor configuration is found
    "npm": "install npm, or set NPM_CONFIG_REGISTRY to the address of an npm registry",
    "pypi": "run `python -m ensurepip`, or set PIP_INDEX_URL to the address of a package index",
    "debian": "name a Debian archive, the address above its pool/, with --mirror=ADDRESS",
}
TIMEOUT = 60.0  # seconds without a byte


def command(registry: str, name: str, version: str) -> list[str] | None:
    """The client's download command, to be run in an empty folder; None: no such client here."""
    if registry == "npm" and shutil.which("npm"):
        return ["npm", "pack", "--silent", f"{name}@{version}"]
    if registry == "pypi" and importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
        return [*pip, "--only-binary=:all:", f"{name}=={version}"]
    if registry == "debian" and shutil.which("apt-get"):
        return ["apt-get", "download", f"{name}={version}"]
    return None


def addresses(
    registry: str, name: str, version: str, file: str, pool: str, mirror: str = ""
) -> Iterator[str]:
    """Addresses of the package's file, from the machine's configuration.

    Args:
        file: name of the file; pool: its folder in a Debian archive.
        mirror: a Debian archive to ask first.

    Raises OSError while iterating where a registry does not answer.
    """
    if registry == "debian":
        for base in dict.fromkeys([*([mirror] if mirror else []), *apt_archives()]):
            yield f"{base.rstrip('/')}/{pool.strip('/')}/{file}"
    elif registry == "npm":
        for base in npm_registries(name):
            place = f"{base.rstrip('/')}/{name.replace('/', '%2f')}/{version}"
            yield json.loads(_read(place))["dist"]["tarball"]
    else:
        for base in pypi_indexes():
            page = f"{base.rstrip('/')}/{re.sub(r'[-_.]+', '-', name).lower()}/"
            for link in re.findall(r'href="([^"#]+)', _read(page)):
                if urllib.parse.unquote(link).rsplit("/", 1)[-1] == file:
                    yield urllib.parse.urljoin(page, link)


def pypi_indexes() -> list[str]:
    """Package indexes in the environment and in pip's files, best first."""
    variables = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_EXTRA_INDEX_URL")
    found = [address for name in variables for address in os.environ.get(name, "").split()]
    home = Path.home()
    files = [Path(sys.prefix) / "pip.conf", home / ".config/pip/pip.conf", home / ".pip/pip.conf"]
    files += [Path("/etc/pip.conf"), *sorted(Path("/etc/xdg/pip").glob("pip.conf"))]
    if os.environ.get("PIP_CONFIG_FILE"):
        files.insert(0, Path(os.environ["PIP_CONFIG_FILE"]))
    for file in files:
        parser = configparser.RawConfigParser()
        parser.read(file)
        for section in ("download", "install", "global"):
            for key in ("index-url", "extra-index-url"):
                found += parser.get(section, key, fallback="").split()
    return _addresses(found)


def npm_registries(name: str) -> list[str]:
    """Registries in the environment, from npm itself, or in its files, best first."""
    found = [os.environ.get("NPM_CONFIG_REGISTRY"), os.environ.get("npm_config_registry")]
    keys = [f"{name.split('/')[0]}:registry"] if name.startswith("@") else []
    if shutil.which("npm"):
        for key in [*keys, "registry"]:
            asked = subprocess.run(
                ["npm", "config", "get", key], capture_output=True, text=True, check=False
            )
            found.append(asked.stdout.strip())
    for file in (Path.home() / ".npmrc", Path("/etc/npmrc")):
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        pairs = {key.strip(): value.strip() for key, _, value in (s.partition("=") for s in lines)}
        found += [pairs.get(key) for key in [*keys, "registry"]]
    return _addresses(found)


def apt_archives(root: Path = Path("/etc/apt")) -> list[str]:
    """Archives in apt's sources.list and sources.list.d, in both of their formats."""
    found = []
    folder = root / "sources.list.d"
    for file in [root / "sources.list", *sorted(folder.glob("*.list"))]:
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        found += re.findall(r"^\s*deb\s+(?:\[[^]]*\]\s*)?(\S+)", text, re.M)
    for file in sorted(folder.glob("*.sources")):
        text = file.read_text(encoding="utf-8", errors="replace")
        for line in re.findall(r"^URIs:(.*)$", text, re.M):
            found += line.split()
    return _addresses(found)


def _addresses(found: Iterable[str | None]) -> list[str]:
    """Those that are addresses of the web, each once."""
    return [
        value for value in dict.fromkeys(found) if value and value.startswith(("http:", "https:"))
    ]


def _read(address: str) -> str:
    """A small page of a registry."""
    accept = {"Accept": "application/vnd.pypi.simple.v1+html, application/json, text/html;q=0.5"}
    request = urllib.request.Request(address, headers=accept)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return answer.read(64 << 20).decode("utf-8", errors="replace")
