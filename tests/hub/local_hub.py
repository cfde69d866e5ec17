"""A small Hub on this machine, which keeps dataset repositories in memory: what uploading and loading needs, and nothing else."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalHub(ThreadingHTTPServer):
    """Listens on the loopback interface; `commits` lists (repository, message, names of what was added or removed)."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        self.commits: list[tuple[str, str, list[str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalHub

    def log_message(self, *arguments):
        pass

    def answer(self, content=b"", status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, what="EntryNotFound"):
        self.answer({"error": "not found"}, 404, X_Error_Code=what, X_Repo_Commit=self.commit)

    @property
    def commit(self):
        return f"{len(self.server.commits):040x}"

    def parts(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        return path, query

    def do_POST(self):
        hub, (path, _) = self.server, self.parts()
        if path == "/api/repos/create":
            request = json.loads(self.body)
            name = "/".join(filter(None, (request.get("organization") or "me", request["name"])))
            status = 409 if name in hub.files else 200
            if status == 200:
                hub.files[name] = {}
                hub.private[name] = bool(request.get("private")) or request.get("visibility") == "private"
            return self.answer({"url": f"{hub.url}/datasets/{name}"}, status)
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/datasets/(.+?/.+?)/preupload/\w+", path):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            return self.answer({"files": modes})
        if re.fullmatch(r"/datasets/.+\.git/info/lfs/objects/batch", path):
            objects = [
                {**item, "actions": {"upload": {"href": f"{hub.url}/lfs/{item['oid']}"}}}
                for item in json.loads(self.body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects}, Content_Type="application/vnd.git-lfs+json")
        if match := re.fullmatch(r"/api/datasets/(.+?/.+?)/commit/\w+", path):
            files, changed, message = hub.files[match[1]], [], ""
            for line in self.body.decode().splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    message = value["summary"]
                    continue
                changed.append(value["path"])
                if entry["key"] == "deletedFile":
                    del files[value["path"]]
                else:
                    is_lfs = entry["key"] == "lfsFile"
                    files[value["path"]] = hub.blobs[value["oid"]] if is_lfs else base64.b64decode(value["content"])
            hub.commits.append((match[1], message, changed))
            return self.answer(
                {"commitUrl": f"{hub.url}/datasets/{match[1]}/commit/{self.commit}", "commitOid": self.commit}
            )
        if match := re.fullmatch(r"/api/datasets/(.+?/.+?)/paths-info/\w+", path):
            request = (
                json.loads(self.body) if self.body[:1] == b"{" else {"paths": re.findall(rb"paths=([^&]+)", self.body)}
            )
            wanted = [name.decode() if isinstance(name, bytes) else name for name in request["paths"]]
            wanted = [name.replace("%2F", "/") for name in wanted]
            tree = {entry["path"]: entry for entry in self.tree(match[1])}
            return self.answer([tree[name] for name in wanted if name in tree])
        return self.missing()

    def do_PUT(self):
        self.parts()
        oid = self.path.removeprefix("/lfs/")
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.answer({"error": "wrong checksum"}, 400)
        self.server.blobs[oid] = self.body
        return self.answer()

    def tree(self, name):
        entries = {}
        for path, data in self.server.files[name].items():
            for depth in range(1, path.count("/") + 1):
                parent = "/".join(path.split("/")[:depth])
                entries[parent] = {
                    "type": "directory",
                    "path": parent,
                    "size": 0,
                    "oid": hashlib.sha1(parent.encode()).hexdigest(),
                }
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entries[path] = {"type": "file", "path": path, "size": len(data), "oid": oid}
        return list(entries.values())

    def do_GET(self):
        hub, (path, query) = self.server, self.parts()
        if path == "/api/whoami-v2":
            return self.answer({"type": "user", "name": "me", "orgs": [], "auth": {}})
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(/revision/\w+)?", path):
            if match[1] not in hub.files:
                return self.missing("RepoNotFound")
            siblings = [{"rfilename": name} for name in hub.files[match[1]]]
            return self.answer(
                {
                    "id": match[1],
                    "sha": self.commit,
                    "private": hub.private[match[1]],
                    "tags": [],
                    "siblings": siblings,
                }
            )
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/\w+/?(.*)", path):
            below = match[2].replace("%2F", "/").rstrip("/")
            inside = [entry for entry in self.tree(match[1]) if not below or entry["path"].startswith(below + "/")]
            if below and not inside:
                return self.missing()
            if "recursive=true" not in query.lower():
                depth = below.count("/") + 1 if below else 0
                inside = [entry for entry in inside if entry["path"].count("/") == depth]
            return self.answer(inside)
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
            data = hub.files.get(match[1], {}).get(match[2].replace("%2F", "/"))
            if data is None:
                return self.missing()
            headers = {
                "X_Repo_Commit": self.commit,
                "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
                "Accept_Ranges": "bytes",
            }
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
                start, stop = int(wanted[1]), min(int(wanted[2] or len(data) - 1) + 1, len(data))
                headers["Content_Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
                return self.answer(data[start:stop], 206, **headers)
            return self.answer(data, **headers)
        return self.missing()

    do_HEAD = do_GET
