"""A stand-in for Hugging Face's HTTP API on this machine: what an upload, its tags and a download ask for.

It keeps repositories in memory and checks the SHA-256 of large files, as the real one does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Hub:
    """Repositories {name: {"files": {path: bytes}, "tags": {tag: commit}, "commits": {commit: {path: bytes}}}}."""

    def __init__(self):
        self.repos: dict[str, dict] = {}
        self.large: dict[str, bytes] = {}
        self.url = ""

    def commit(self, repo: str, lines: list[dict]) -> str:
        held = self.repos[repo]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                held["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                held["files"][value["path"]] = self.large[value["oid"]]
        name = hashlib.sha1(repr((len(held["commits"]), sorted(held["files"]))).encode()).hexdigest()
        held["commits"][name] = dict(held["files"])
        held["head"] = name
        return name

    def at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]]:
        held = self.repos[repo]
        if held["head"] is None:
            return "0" * 40, {}
        commit = held["head"] if revision == "main" else held["tags"].get(revision, revision)
        return commit, held["commits"][commit]


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A hub for as long as the block lasts; `url` is what HF_ENDPOINT has to be."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        path, body = self._path(), self._body()
        if path == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.repos.setdefault(name, {"files": {}, "tags": {}, "commits": {}, "head": None, "made": asked})
            return self._json({"url": f"{self.hub.url}/{name}"})
        if path == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if path[:2] == ["api", "models"]:
            repo, action = "/".join(path[2:4]), path[4]
            if action == "preupload":
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".pt") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                return self._json({"files": modes})
            if action == "commit":
                commit = self.hub.commit(repo, [json.loads(line) for line in body.splitlines()])
                return self._json({"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit})
            if action == "tag":
                self.hub.repos[repo]["tags"][json.loads(body)["tag"]] = self.hub.repos[repo]["head"]
                return self._json({})
        if path[-3:] == ["lfs", "objects", "batch"]:
            objects = [
                {**entry, "actions": {"upload": {"href": f"{self.hub.url}/upload/{entry['oid']}"}}}
                for entry in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        self._json({"error": f"POST {self.path}"}, 404)

    def do_PUT(self):
        content, wanted = self._body(), self._path()[1]
        if hashlib.sha256(content).hexdigest() != wanted:
            return self._json({"error": "another SHA-256"}, 400)
        self.hub.large[wanted] = content
        self._json({})

    def do_DELETE(self):
        path = self._path()
        self.hub.repos["/".join(path[2:4])]["tags"].pop(path[5])
        self._json({})

    def do_GET(self):
        path = self._path()
        repo = "/".join(path[2:4]) if path[:2] == ["api", "models"] else "/".join(path[:2])
        if repo not in self.hub.repos:
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if path[:2] == ["api", "models"]:
            if path[4:5] == ["refs"]:
                held = self.hub.repos[repo]
                tags = [
                    {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": at} for tag, at in held["tags"].items()
                ]
                main = {"name": "main", "ref": "refs/heads/main", "targetCommit": held["head"]}
                return self._json({"branches": [main], "converts": [], "tags": tags})
            commit, files = self.hub.at(repo, path[5] if path[4:5] == ["revision"] else "main")
            if path[4:5] == ["tree"]:
                commit, files = self.hub.at(repo, path[5])
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in files.items()
                ]
                return self._json(tree)
            siblings = [{"rfilename": name} for name in files]
            return self._json({"id": repo, "sha": commit, "siblings": siblings, "tags": [], "private": True})
        commit, files = self.hub.at(repo, path[3])
        content = files["/".join(path[4:])]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        self._answer(content, 200, headers)

    do_HEAD = do_GET

    def _path(self) -> list[str]:
        return [unquote(part) for part in self.path.split("?")[0].strip("/").split("/")]

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _json(self, content, status: int = 200, headers: dict | None = None) -> None:
        self._answer(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, content: bytes, status: int, headers: dict) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
