"""Small packages, and a server that is a registry of npm, PyPI and Debian for them."""

import contextlib
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile

import pyarrow
from PIL import Image

from mmjax.datasets import emoji


def tgz(files, links=()):
    """An npm tarball: {name: bytes}; links: (name, target)."""
    return _tar(files, "gz", links)


def wheel(files):
    """A wheel, or any zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return buffer.getvalue()


def deb(files, kind="xz"):
    """A Debian package whose data.tar is compressed as `kind`: "xz", "gz" or "zst"."""
    data = _tar({f"./{name}": one for name, one in files.items()}, "" if kind == "zst" else kind)
    if kind == "zst":
        data = pyarrow.compress(data, codec="zstd", asbytes=True)
    out = b"!<arch>\n"
    for name, part in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        (f"data.tar.{kind}", data),
    ):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(part):<10}`\n".encode()
        out += part + b"\n" * (len(part) % 2)
    return out


def _tar(files, kind, links=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as opened:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            opened.addfile(member)
    return buffer.getvalue()


def sha(data):
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def serving(pages, cut=()):
    """A server of {path: bytes or str}; str is JSON or HTML, "BASE" in it the server's address.

    cut: numbers of bytes after which the next answers break off. Yields an object with `base` and
    `asked`: the (path, Range header) of each request.
    """
    cuts, asked = list(cut), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Range")))
            page = pages.get(self.path)
            if page is None:
                self.send_error(404)
                return
            if isinstance(page, str):
                page = page.replace("BASE", base).encode()
            start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(page) - start))
            self.end_headers()
            most = cuts.pop(0) if cuts and self.path.endswith((".tgz", ".whl", ".deb")) else None
            self.wfile.write(page[start : None if most is None else start + most])

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    class Served:
        pass

    served = Served()
    served.base, served.asked = base, asked
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


def npm(name, version, data):
    """Pages of an npm registry with one package."""
    place = f"/files/{name.split('/')[-1]}-{version}.tgz"
    answer = json.dumps({"dist": {"tarball": f"BASE{place}"}})
    return {f"/{name.replace('/', '%2f')}/{version}": answer, place: data}


def pypi(name, file, data):
    """Pages of a package index with one package."""
    return {
        f"/simple/{name}/": f'<a href="../../files/{file}#sha256=0">x</a>',
        f"/files/{file}": data,
    }


def svg(colour, size='width="24" height="24"'):
    shape = f'<circle cx="12" cy="12" r="9" fill="{colour}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{shape}</svg>'.encode()


def png(size, colour, mode="RGBA"):
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def _openmoji():
    def entry(code, name, group, tags="", base=""):
        extra = {"subgroups": group, "openmoji_tags": "", "skintone": "1" if base else ""}
        extra["skintone_base_hexcode"] = base
        return {"hexcode": code, "annotation": name, "group": group, "tags": tags, **extra}

    held = next(c for c in emoji.concepts() if c.split == "test/unseen_concept")
    entries = [
        entry("1F344", "mushroom", "animals-nature", "fungus, mushroom, toadstool, plant"),
        entry("1F44D", "thumbs up", "people-body", "good"),
        entry("1F44D-1F3FB", "thumbs up: light skin tone", "people-body", "good", "1F44D"),
        entry("E010", "macaw", "extras-openmoji"),
        entry(held.key.upper(), held.name, "objects"),
        entry("1F1E8-1F1ED", "flag: Switzerland", "flags", "CH"),
    ]
    files = {
        "package/data/openmoji.json": json.dumps(entries).encode(),
        "package/LICENSE.txt": b"L",
    }
    for number, one in enumerate(entries):
        colour = f"#{number * 40:02x}8020"
        files[f"package/color/svg/{one['hexcode']}.svg"] = svg(colour)
        files[f"package/black/svg/{one['hexcode']}.svg"] = svg("black")
    return tgz(files)


def _tabler():
    names = {"bell": ("outline", "filled"), "bell-off": ("outline",), "brand-x": ("outline",)}
    entries = {
        name: {
            "name": name,
            "category": "Brand" if "brand" in name else "System",
            "tags": ["alarm-clock", "bell", 5],
            "styles": dict.fromkeys(styles, {}),
        }
        for name, styles in names.items()
    }
    files = {"package/icons.json": json.dumps(entries).encode(), "package/LICENSE": b"MIT"}
    for name, styles in names.items():
        for style in styles:
            files[f"package/icons/{style}/{name}.svg"] = svg("currentColor")
    return tgz(files)


def _openclipart():
    def drawing(title, keywords, size='width="50mm" height="50mm"', author="Linda Kim"):
        subject = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
        agent = f"<cc:Agent><dc:title>{author}</dc:title></cc:Agent>"
        text = f"<dc:creator>{agent}</dc:creator><dc:title>{title}</dc:title>"
        text += f"<dc:subject><rdf:Bag>{subject}</rdf:Bag></dc:subject>"
        spaces = 'xmlns:rdf="r" xmlns:cc="c" xmlns:dc="d"'
        shape = '<rect x="9" y="9" width="60" height="30" fill="#f00"/>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {spaces} {size}>'
        return f"{head}<metadata>{text}</metadata>{shape}</svg>".encode()

    folder = "usr/share/openclipart/svg/"
    files = {
        "animals/birds/crow_linda_ki_01.svg": drawing("HASH(0x8)", ["bird", "hash", ""]),
        "animals/birds/crow_linda_ki_02.svg": drawing("Crow 2", ["birds", "0x8f", "black"]),
        "food/RedApple.svg": drawing("Lemon SVG theme", ["fruit &amp; more"]),
        "computer/icons/flat-theme/kpager.svg": drawing("Flat Icon Collection", ["icons"]),
        "shapes/stars/star_1.svg": drawing("gramastar", []),
        "people/empty.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
        "people/broken.svg": b"<svg",
    }
    files = {folder + name: data for name, data in files.items()}
    return deb({**files, "usr/share/doc/openclipart-svg/copyright": b"public domain"})


def _tuxpaint():
    folder = "usr/share/tuxpaint/stamps/"
    text = "A frog.\nde.utf8=Ein  Frosch.\nca@valencia.utf8=Una granota.\nfr.utf8=\n"
    files = {
        "animals/frog.png": png((300, 600), (0, 200, 0, 128)),
        "animals/frog.svg": svg("red"),
        "animals/frog.txt": text.encode(),
        "animals/frog.ogg": b"croak",
        "animals/frog_desc_de.ogg": b"Frosch",
        "animals/frog-1.svg": svg("green"),
        "animals/frog-1.txt": b"A FROG.",
        "animals/frog-1_desc.ogg": b"frog",
        "vehicles/car.svg": svg("blue"),
        "vehicles/car.txt": b"A car.\nde.utf8=Ein Auto.",
        "vehicles/car_mirror.svg": svg("blue"),
    }
    files = {folder + name: data for name, data in files.items()}
    return deb({"usr/share/doc/tuxpaint-stamps-default/copyright": b"GPL-2", **files})


def _easy_vqa():
    files = {"easy_vqa-1.0.dist-info/LICENSE": b"MIT"}
    for split in ("train", "test"):
        questions = [["is it red?", "no", 1], ["what shape?", "circle", 0], ["what?", "teal", 1]]
        files[f"easy_vqa/data/{split}/questions.json"] = json.dumps(questions).encode()
        for number in range(2):
            colour = (number, 0, len(split), 255)
            files[f"easy_vqa/data/{split}/images/{number}.png"] = png((64, 64), colour)
    return wheel(files)


def small_archives():
    """Packages of the sets that `prepare` knows, with a few examples each."""
    return {
        "openmoji": _openmoji(),
        "openclipart": _openclipart(),
        "tuxpaint": _tuxpaint(),
        "tabler": _tabler(),
        "easy_vqa": _easy_vqa(),
    }
