"""What the matrix is made of: cells, clients, and which client cannot have which cell, and why. Everything else is tested.

A cell is one way of using HTTP, in each version that it exists in. `options` say what a client does (clients.py turns them into its
words): upload, upload_size, chunked, decode, follow, expect, send_trailers, take (leave after so many bytes), rate (read so many bytes a
second), slow_upload (in `pieces`, with pauses), slow_answer (the server pauses).
"""
import os
from typing import NamedTuple

MIB = 1 << 20
LARGE, MEDIUM, UPLOAD, PIECES = 64 * MIB, 12 * MIB, 24 * MIB, 20
LEFT = "^the program(: | closed its side of | reset the stream: (CANCEL|NO_ERROR))"
CUT = "^the server (ended|closed) the connection"
RESET = "^the server(: connection reset| reset the stream: INTERNAL_ERROR)"
BOTH = ("h1", "h2")


class Cell(NamedTuple):
    what: str
    origin: str  # "nginx", "own" (origin.js), "plain" (nginx without TLS); h2 has "nghttpd" where a cell says so
    resource: str
    method: str = "GET"
    options: dict = {}
    statuses: tuple = (200,)
    error: str = ""  # what the flow says; nothing: the flow has no error
    versions: tuple = BOTH


CELLS = {
    "plain": Cell("a GET without TLS", "plain", "small", versions=("h1",)),
    "get": Cell("a GET over TLS", "nginx", "small"),
    "upload": Cell("24 MiB up, with a length", "nginx", "put", "PUT", {"upload": "upload", "upload_size": UPLOAD}, (201,)),
    "download": Cell("64 MiB down", "nginx", "large"),
    "chunked": Cell("an answer without length in 200 pieces", "own", "chunks"),
    "chunked_upload": Cell("12 MiB up, without length", "own", "put", "PUT", {"upload": "medium", "upload_size": MEDIUM, "chunked": True}, (201,)),
    "gzip": Cell("a body in gzip, which the client unpacks", "nginx", "text", options={"decode": "gzip"}),
    "br": Cell("a body in brotli", "own", "br", options={"decode": "br"}),
    "redirect": Cell("302, followed (but not by h2load)", "nginx", "moved", options={"follow": True}, statuses=(302, 200)),
    "no_content": Cell("204", "nginx", "nothing", statuses=(204,)),
    "not_modified": Cell("304", "nginx", "small", options={"warm": True}, statuses=(304,)),
    "head": Cell("HEAD", "nginx", "small", "HEAD"),
    "expect": Cell("Expect: 100-continue, and it is", "own", "put", "PUT", {"upload": "text", "upload_size": 300000, "expect": True}, (201,)),
    "expect_refused": Cell("Expect: 100-continue, and it is not: 417, no body", "own", "refuse", "PUT",
                           {"upload": "text", "upload_size": 300000, "expect": True}, (417,)),
    "trailers": Cell("trailers after the answer", "own", "trailers"),
    "nghttpd": Cell("trailers and 64 MiB from nghttpd", "nghttpd", "large", versions=("h2",)),
    "sent_trailers": Cell("trailers after the request", "own", "put", "PUT",
                          {"upload": "text", "upload_size": 300000, "chunked": True, "send_trailers": {"x-sum": "17"}}, (201,)),
    "client_abort": Cell("the client leaves in the middle of the answer", "own", "endless", options={"take": 200000},
                         error=LEFT),
    "server_abort": Cell("the server ends the connection in the middle of its answer", "own", "cut", error=CUT),
    "server_reset": Cell("RST, or RST_STREAM, in the middle of the answer", "own", "reset", error=RESET),
    "slow_reader": Cell("12 MiB down, read slowly", "nginx", "medium", options={"rate": MEDIUM}),
    "slow_writer": Cell("a body that the client sends slowly arrives as it is sent", "own", "put", "PUT",
                        {"slow_upload": True, "upload": "slow", "upload_size": 40000 * PIECES, "pieces": PIECES}, (201,)),
    "slow_server": Cell("a body that the server sends slowly arrives as it is sent", "own", "trickle", options={"slow_answer": True}),
}


class Client(NamedTuple):
    process: str  # what osproxy calls it, as a regular expression
    versions: tuple
    cannot: dict  # CELL or VERSION/CELL -> why not


ONLY_FILES = "apt only fetches files"
ONLY_GIT = "git speaks its own protocol and never makes such a request"
UNPACKS_NOT = "it does not know this coding"

CLIENTS = {
    "curl": Client("curl", BOTH, {
        "sent_trailers": "the command cannot",
    }),
    "wget": Client("wget", ("h1",), {
        "br": UNPACKS_NOT,
        "chunked_upload": "wget sends a file, with its length",
        "expect": "wget never expects",
        "expect_refused": "wget never expects",
        "sent_trailers": "wget cannot",
        "slow_writer": "--limit-rate is for downloads",
    }),
    "git": Client("git-remote-http", BOTH, {
        "no_content": ONLY_GIT,
        "not_modified": ONLY_GIT,
        "head": ONLY_GIT,
        "expect": "git expects only with GSS authentication",
        "expect_refused": "git expects only with GSS authentication",
        "trailers": ONLY_GIT,
        "nghttpd": ONLY_GIT,
        "sent_trailers": ONLY_GIT,
        "slow_writer": "git has no such option",
    }),
    "apt": Client("https?", ("h1",), {
        "upload": ONLY_FILES,
        "chunked_upload": ONLY_FILES,
        "gzip": "apt asks for no content coding",
        "br": "apt asks for no content coding",
        "no_content": ONLY_FILES,
        "head": ONLY_FILES,
        "trailers": "apt fails at them, with or without osproxy",
        "expect": ONLY_FILES,
        "expect_refused": ONLY_FILES,
        "sent_trailers": ONLY_FILES,
        "slow_writer": ONLY_FILES,
    }),
    "urllib": Client(r"python3.*", ("h1",), {
        "br": UNPACKS_NOT,
        "expect": "http.client knows no 100",
        "expect_refused": "http.client knows no 100",
        "sent_trailers": "http.client cannot",
    }),
    "requests": Client(r"python3.*", ("h1",), {
        "br": UNPACKS_NOT,
        "expect": "http.client knows no 100",
        "expect_refused": "http.client knows no 100",
        "sent_trailers": "http.client cannot",
    }),
    "node": Client("node|MainThread", BOTH, {}),
    "java": Client("java", BOTH, {
        "br": UNPACKS_NOT,
        "sent_trailers": "HttpClient cannot",
    }),
    "nghttp": Client("nghttp", ("h2",), {
        "expect_refused": "nghttp waits for 100 whatever else is answered, with or without osproxy",
        "slow_writer": "nghttp has no such option",
    }),
    "h2load": Client("h2load", BOTH, {
        "chunked_upload": "h2load sends a file, with its length",
        "h1/head": "h2load --h1 waits for a body, with or without osproxy",
        "h1/expect_refused": "h2load --h1 sends the body at once, and how many requests failed at it is another number each time",
        "sent_trailers": "h2load cannot",
        "slow_writer": "h2load has no such option",
    }),
    "chromium": Client("chrom.*", BOTH, {
        "h1/chunked_upload": "fetch sends bodies without length over HTTP/2 only",
        "h1/slow_writer": "fetch sends bodies without length over HTTP/2 only",
        "expect": "fetch never expects",
        "expect_refused": "fetch never expects",
        "sent_trailers": "fetch cannot",
    }),
}


WANTED = [word for word in os.environ.get("OSPROXY_MATRIX_CELLS", "").split(",") if word]


def cells_of(client):
    """(version, cell) of everything that `client` can have, or of what OSPROXY_MATRIX_CELLS leaves of it: CELL or VERSION/CELL."""
    can = [(version, name) for name, cell in CELLS.items() for version in cell.versions
           if version in CLIENTS[client].versions and name not in CLIENTS[client].cannot and f"{version}/{name}" not in CLIENTS[client].cannot]
    return [(version, name) for version, name in can if not WANTED or name in WANTED or f"{version}/{name}" in WANTED]
