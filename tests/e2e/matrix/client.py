"""Python's own HTTP (urllib) and python3-requests as clients: client.py urllib|requests TRUST_FILE < JOBS. A line of JSON for each job."""
import concurrent.futures
import hashlib
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
import zlib


def upload(job):
    """What is sent: a file, or pieces with pauses between them."""
    if job.get("slow_upload"):
        return paced(job)
    if not job.get("upload"):
        return None
    return open(job["upload"], "rb") if not job.get("chunked") else pieces(job["upload"])


def pieces(path):
    with open(path, "rb") as file:
        while piece := file.read(10000):
            yield piece


def paced(job):
    for i in range(job["pieces"]):
        yield str(i).encode()[:1] * (job["upload_size"] // job["pieces"])
        time.sleep(0.1)


def receive(job, read, close, result):
    hashed, size, moments, last = hashlib.sha256(), 0, 0, 0.0
    decoder = zlib.decompressobj(31) if job.get("decode") == "gzip" and not result.pop("decoded", False) else None
    try:
        while piece := read(65536):
            size += len(piece)
            hashed.update(decoder.decompress(piece) if decoder else piece)
            moments += time.monotonic() - last > 0.015
            last = time.monotonic()
            if job.get("take") and size > job["take"]:
                return close()
            if job.get("rate"):
                time.sleep(len(piece) / job["rate"])
    finally:
        if not job.get("take"):
            result.update(bytes=size, sha256=hashed.hexdigest())
        if job.get("slow_answer"):
            result["slow"] = moments > 2


def with_urllib(job, trust, result):
    data, headers = upload(job), dict(job["headers"])
    if data is not None and not job.get("chunked") and not job.get("slow_upload"):
        headers["Content-Length"] = str(job["upload_size"])
    request = urllib.request.Request(job["url"], data=data, headers=headers, method=job["method"])
    try:
        response = urllib.request.urlopen(request, timeout=120, context=ssl.create_default_context(cafile=trust))
    except urllib.error.HTTPError as error:  # 304 is one
        response = error
    result.update(status=response.status, headers=response.getheaders() if hasattr(response, "getheaders") else list(response.headers.items()))
    # read1 gives what has come; read() of an http.client that is told a size waits for all of it
    receive(job, response.read if response.fp is None or not hasattr(response, "read1") else response.read1, response.close, result)


def with_requests(job, trust, result):
    import requests  # only the row that needs it
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(job["method"], job["url"], data=upload(job), headers=job["headers"], verify=trust, stream=True, timeout=120)
        result.update(status=response.status_code, headers=list(response.headers.items()), decoded=True)
        stream = response.iter_content(65536 if not job.get("slow_answer") else 1000)
        receive(job, lambda _: next(stream, b""), response.close, result)


def run(job):
    result = {"id": job["id"]}
    try:
        (with_urllib if sys.argv[1] == "urllib" else with_requests)(job, sys.argv[2], result)
    except Exception as error:  # every kind that a program may see: it is what is compared
        result["error"] = f"{type(error).__name__} {error}"
    result.pop("decoded", None)
    return json.dumps(result)


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for line in pool.map(run, json.load(sys.stdin)):
        print(line, flush=True)
