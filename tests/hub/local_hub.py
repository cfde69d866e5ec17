"""A small Hub on this machine, which keeps model and dataset repositories in memory and speaks the protocol of the real client.

It knows accounts by their tokens, private repositories, branches, pull requests, and the route of large files. It can be told to
break a connection, to refuse a request or to exchange what it stores.
"""

import base64
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote


class LocalHub(ThreadingHTTPServer):
    """Listens on the loopback interface.

    Attributes:
        files: repository -> path -> content, of the main branch.
        branches: (repository, branch) -> path -> content, of all others; those of pull requests are `refs/pr/1`, ...
        private: repository -> whether it is private.
        commits: (repository, message, names of what was added or removed).
        tokens: token -> account; one that begins with `hf_read` may not write.
        interruptions: (pattern of method and path, status): the first request that fits is answered with the status, or its connection
            is broken in the middle of its body where the status is 0; then the entry is removed.
        delays: (pattern of method and path, seconds): the first request that fits waits so long; then the entry is removed.
        requests: method and path of all requests.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.branches: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        self.large: set[bytes] = set()  # contents that came by the route of large files
        self.commits: list[tuple[str, str, list[str]]] = []
        self.heads: dict[tuple[str, str], int] = {}
        self.snapshots: dict[tuple[str, str], dict[str, bytes]] = {}
        self.tokens = {"hf_test": "me", "hf_other": "somebody", "hf_read": "me"}
        self.interruptions: list[tuple[str, int]] = []
        self.delays: list[tuple[str, float]] = []
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients that go away are no error of the server."""

    def tree(self, name, revision):
        """Path -> content of a branch or a commit, None where there is none."""
        if revision == "main" or revision == self.sha(name, "main"):
            return self.files[name]
        if (name, revision) in self.branches:
            return self.branches[name, revision]
        return self.snapshots.get((name, revision))

    def sha(self, name, revision):
        """The newest commit of a branch."""
        return f"{self.heads.get((name, revision), self.heads.get((name, 'main'), 0)):040x}"


_REPOSITORY = r"(?P<name>[\w.-]+/[\w.-]+?)"
_REVISION = r"(?P<revision>refs/pr/\d+|[\w.-]+)"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalHub

    def log_message(self, *arguments):
        pass

    # -- answers -----------------------------------------------------------------------------------------------------
    def answer(self, content=b"", status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, what="EntryNotFound", **headers):
        self.answer({"error": "not found"}, 404, X_Error_Code=what, **headers)

    def refuse(self, status, message):
        self.answer({"error": message}, status, X_Error_Message=message)

    # -- who asks for what -------------------------------------------------------------------------------------------
    def account(self):
        return self.server.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def may_read(self, name):
        return name in self.server.files and (not self.server.private[name] or self.account() == name.split("/")[0])

    def may_write(self, name, pull_request=False):
        """Whether the account may; answers the request if not."""
        if self.account() is None:
            self.refuse(401, "Invalid username or password.")
        elif not self.may_read(name):
            self.missing("RepoNotFound")
        elif "hf_read" in self.headers["Authorization"] or (self.account() != name.split("/")[0] and not pull_request):
            self.refuse(403, "Forbidden: this token may not write here.")
        else:
            return True
        return False

    def begin(self):
        """Reads the request; False where the connection was broken or the request refused on purpose."""
        size = int(self.headers.get("Content-Length") or 0)
        path, _, query = self.path.partition("?")
        self.where, self.query = unquote(path), parse_qs(query)
        request = f"{self.command} {self.where}"
        self.server.requests.append(request)
        for delay in self.server.delays:
            if re.search(delay[0], request):
                self.server.delays.remove(delay)
                time.sleep(delay[1])
                break
        for entry in self.server.interruptions:
            if re.search(entry[0], request):
                self.server.interruptions.remove(entry)
                if entry[1]:
                    self.rfile.read(size)
                    self.refuse(entry[1], "The server has a problem.")
                else:
                    self.rfile.read(size // 2)
                    self.close_connection = True
                    self.connection.close()
                return False
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(iter(self._chunk, b""))
        else:
            self.body = self.rfile.read(size)
        return True

    def _chunk(self):
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def match(self, pattern):
        """Fills `name`, `revision` and `path` from the address, where it fits."""
        pattern = pattern.replace("REPOSITORY", _REPOSITORY).replace("REVISION", _REVISION)
        found = re.fullmatch(pattern, self.where)
        if found is None:
            return False
        self.name, self.revision, self.rest = (found.groupdict().get(key) for key in ("name", "revision", "path"))
        return True

    # -- writing -----------------------------------------------------------------------------------------------------
    def do_POST(self):
        if not self.begin():
            return None
        hub = self.server
        if self.where == "/api/repos/create":
            return self.create()
        if self.where == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.match(r"/(?:datasets/)?REPOSITORY\.git/info/lfs/objects/batch"):
            objects = [
                item
                if item["oid"] in hub.blobs
                else {**item, "actions": {"upload": {"href": f"{hub.url}/lfs/{item['oid']}"}}}
                for item in json.loads(self.body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects}, Content_Type="application/vnd.git-lfs+json")
        if self.match(r"/api/(?:models|datasets)/REPOSITORY/preupload/REVISION"):
            return self.may_write(self.name, "create_pr" in self.query) and self.preupload()
        if self.match(r"/api/(?:models|datasets)/REPOSITORY/commit/REVISION"):
            return self.may_write(self.name, "create_pr" in self.query) and self.commit()
        if self.match(r"/api/(?:models|datasets)/REPOSITORY/branch/REVISION"):
            if not self.may_write(self.name):
                return None
            if (self.name, self.revision) in hub.branches:
                return self.refuse(409, "Reference already exists")
            hub.branches[self.name, self.revision] = dict(hub.files[self.name])
            return self.answer({})
        if self.match(r"/api/(?:models|datasets)/REPOSITORY/paths-info/REVISION"):
            if self.body[:1] == b"{":
                wanted = json.loads(self.body)["paths"]
            else:
                wanted = parse_qs(self.body.decode())["paths"]
            tree = {entry["path"]: entry for entry in self.entries()}
            return self.answer([tree[name] for name in wanted if name in tree])
        return self.missing()

    def create(self):
        hub, request = self.server, json.loads(self.body)
        if self.account() is None:
            return self.refuse(401, "Invalid username or password.")
        owner = request.get("organization") or self.account()
        if owner != self.account() or "hf_read" in self.headers["Authorization"]:
            return self.refuse(403, f"You don't have the rights to create a repository under {owner}.")
        name = f"{owner}/{request['name']}"
        status = 409 if name in hub.files else 200
        if status == 200:
            hub.files[name] = {}
            hub.private[name] = bool(request.get("private")) or request.get("visibility") == "private"
        kind = "datasets/" if request.get("type") == "dataset" else ""
        return self.answer({"url": f"{hub.url}/{kind}{name}"}, status)

    def preupload(self):
        tree = self.server.tree(self.name, self.revision)
        if tree is None:
            return self.missing("RevisionNotFound")
        modes = []
        for file in json.loads(self.body)["files"]:
            is_large = file["path"].endswith((".parquet", ".safetensors", ".gif"))
            stored = tree.get(file["path"])
            modes.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if is_large else "regular",
                    "shouldIgnore": False,
                    "oid": None
                    if stored is None
                    else hashlib.sha256(stored).hexdigest()
                    if is_large
                    else _git(stored),
                }
            )
        return self.answer({"files": modes})

    def commit(self):
        hub, name = self.server, self.name
        files, changed, message = dict(hub.tree(name, self.revision)), [], ""
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
                continue
            changed.append(value["path"])
            if entry["key"] == "deletedFile":
                del files[value["path"]]
            elif entry["key"] == "lfsFile":
                files[value["path"]] = hub.blobs[value["oid"]]
                hub.large.add(hub.blobs[value["oid"]])
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        hub.commits.append((name, message, changed))
        more = {}
        if "create_pr" in self.query:
            number = 1 + sum(key[0] == name and key[1].startswith("refs/pr/") for key in hub.branches)
            self.revision = f"refs/pr/{number}"
            more = {"pullRequestUrl": f"{hub.url}/{name}/discussions/{number}"}
        if self.revision == "main":
            hub.files[name].clear()
            hub.files[name].update(files)
        else:
            hub.branches[name, self.revision] = files
        hub.heads[name, self.revision] = len(hub.commits)
        sha = hub.sha(name, self.revision)
        hub.snapshots[name, sha] = files
        kind = "datasets/" if "/datasets/" in self.where else ""
        return self.answer({"commitUrl": f"{hub.url}/{kind}{name}/commit/{sha}", "commitOid": sha, **more})

    def do_PUT(self):
        if not self.begin():
            return None
        oid = self.where.removeprefix("/lfs/")
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.answer({"error": "wrong checksum"}, 400)
        self.server.blobs[oid] = self.body
        return self.answer()

    # -- reading -----------------------------------------------------------------------------------------------------
    def entries(self):
        entries = {}
        for path, data in self.server.tree(self.name, self.revision).items():
            for depth in range(1, path.count("/") + 1):
                parent = "/".join(path.split("/")[:depth])
                oid = hashlib.sha1(parent.encode()).hexdigest()
                entries[parent] = {"type": "directory", "path": parent, "size": 0, "oid": oid}
            entries[path] = {"type": "file", "path": path, "size": len(data), "oid": _git(data)}
            if data in self.server.large:
                pointer = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                entries[path]["lfs"] = pointer
        return list(entries.values())

    def do_GET(self):
        if not self.begin():
            return None
        hub = self.server
        if self.where == "/api/whoami-v2":
            if self.account() is None:
                return self.refuse(401, "Invalid username or password.")
            return self.answer({"type": "user", "name": self.account(), "orgs": [], "auth": {}})
        known = (
            self.match(r"/api/(?:models|datasets)/REPOSITORY(?:/revision/REVISION)?")
            or self.match(r"/api/(?:models|datasets)/REPOSITORY/tree/REVISION/?(?P<path>.*)")
            or self.match(r"/(?:datasets/)?REPOSITORY/resolve/REVISION/(?P<path>.+)")
        )
        if not known:
            return self.missing()
        if not self.may_read(self.name):
            if self.account() is None:
                return self.answer({"error": "Invalid username or password."}, 401)
            return self.missing("RepoNotFound")
        self.revision = self.revision or "main"
        tree = hub.tree(self.name, self.revision)
        if tree is None:
            return self.missing("RevisionNotFound")
        sha = self.revision if re.fullmatch(r"[0-9a-f]{40}", self.revision) else hub.sha(self.name, self.revision)
        if "/resolve/" in self.where:
            return self.file(tree, sha)
        if "/tree/" in self.where:
            return self.listing()
        return self.answer(
            {
                "id": self.name,
                "sha": sha,
                "private": hub.private[self.name],
                "tags": [],
                "siblings": [{"rfilename": name} for name in tree],
            }
        )

    def listing(self):
        below = self.rest.rstrip("/")
        inside = [entry for entry in self.entries() if not below or entry["path"].startswith(below + "/")]
        if below and not inside:
            return self.missing()
        if "true" not in str(self.query.get("recursive", "")).lower():
            depth = below.count("/") + 1 if below else 0
            inside = [entry for entry in inside if entry["path"].count("/") == depth]
        return self.answer(inside)

    def file(self, tree, sha):
        data = tree.get(self.rest)
        if data is None:
            return self.missing(X_Repo_Commit=sha)
        headers = {"X_Repo_Commit": sha, "ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept_Ranges": "bytes"}
        if data in self.server.large:
            headers |= {
                "X_Linked_Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X_Linked_Size": str(len(data)),
            }
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, stop = int(wanted[1]), min(int(wanted[2] or len(data) - 1) + 1, len(data))
            headers["Content_Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            return self.answer(data[start:stop], 206, **headers)
        return self.answer(data, **headers)

    do_HEAD = do_GET


def _git(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
