"""The programs of the matrix: what each is told to do for a cell, and what it says came of it, as values that can be compared.

A job is a cell's options with id, url, method and headers. `run` gives {id: result}; a result has the program's exit status or error,
the status line, headers and trailers as it shows them, number and sha256 of the body's bytes.
"""
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

from harness import PATIENCE, wait_for
from matrix.origins import HERE, OWN_PLAIN
from matrix.table import CELLS, cells_of

LIMIT = PATIENCE * 6  # of a program in seconds: some do all their cells at once, and six of them run at a time

# One name for the programs that cannot be told an address: /etc/hosts is the file given first, for what follows alone.
WITH_HOSTS = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']


def job_of(origins, client, version, name):
    cell = CELLS[name]
    ident = f"{client}-{version}-{name}"
    headers = {"x-cell": ident}
    if "warm" in cell.options:
        headers["if-none-match"] = origins.etag
    if "decode" in cell.options:
        headers["accept-encoding"] = cell.options["decode"]
    job = {"id": ident, "cell": name, "client": client, "version": version, "method": cell.method, "headers": headers, **cell.options,
           "url": origins.url(cell.origin, version, ident, cell.resource)}
    if "upload" in job:
        job["upload"] = origins.files[job["upload"]]
    return job


class Runner:
    """Runs programs in the client's namespace of `origins`, which trust the certificates in the file `trust` and no others."""

    def __init__(self, origins, trust):
        self.origins, self.trust = origins, trust
        self.dir = origins.dir
        self.hosts = f"{self.dir}/hosts"
        with open(self.hosts, "w") as file:
            file.write("127.0.0.1 localhost\n192.0.2.2 one.test\n")
        keep = ("PATH", "LANG", "TMPDIR")
        self.environment = {key: os.environ[key] for key in keep if key in os.environ}
        self.environment.update(HOME=f"{self.dir}/home", GIT_TERMINAL_PROMPT="0", GIT_CONFIG_NOSYSTEM="1", LC_ALL="C")

    def wrapped(self, words):
        return self.origins.world.inside([*WITH_HOSTS, self.hosts, *words])

    def run(self, *words, **options):
        """A program that does not end is ended, and what it said until then is its output."""
        try:
            return subprocess.run(self.wrapped(words), env=self.environment, capture_output=True, timeout=LIMIT, **options)
        except subprocess.TimeoutExpired as slow:
            return subprocess.CompletedProcess(words, "endless", slow.stdout or b"", slow.stderr or b"")

    def run_stuttering(self, *words):
        """Stopped most of the time, with all that it starts: it reads slowly, whatever it is."""
        process = subprocess.Popen(self.wrapped(words), env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   start_new_session=True)
        ended = threading.Event()
        beat = threading.Thread(target=stutter, args=(process.pid, ended))
        beat.start()
        try:
            said = process.communicate(timeout=LIMIT)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code, said = "endless", process.communicate()
        ended.set()
        beat.join()
        return subprocess.CompletedProcess(words, code, *said)

    def leave(self, words, path, take):
        """Ends the program when it has written so many bytes into the file."""
        process = subprocess.Popen(self.wrapped(words), env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + LIMIT
        while process.poll() is None and not (os.path.exists(path) and os.path.getsize(path) > take):
            if time.monotonic() > until:
                process.kill()
                return {"exit": "endless"}
            time.sleep(0.02)
        process.terminate()
        return {"exit": process.wait()}

    def stream(self, *words, take=None, rate=None):
        """Reads standard output as it comes: (exit status, facts about the body, standard error). `take`: how many bytes, or which words, are
        enough; the program is then ended. `rate`: so many bytes a second."""
        with open(f"{self.dir}/stderr-{time.monotonic_ns()}", "w+") as errors:
            process = subprocess.Popen(self.wrapped(words), env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
            guard = threading.Timer(LIMIT, process.kill)
            guard.start()
            hashed, kept, size, moments, last = hashlib.sha256(), b"", 0, 0, 0.0
            while piece := os.read(process.stdout.fileno(), 1 << 18):
                hashed.update(piece)
                kept += piece if len(kept) < 1 << 18 else b""
                size += len(piece)
                moments += time.monotonic() - last > 0.015
                last = time.monotonic()
                if take is not None and (take in kept if isinstance(take, bytes) else size > take):
                    process.terminate()
                    break
                if rate:
                    time.sleep(len(piece) / rate)
            code = process.wait()
            process.stdout.close()
            guard.cancel()
            errors.seek(0)
            return code, {"bytes": size, "sha256": hashed.hexdigest(), "slow": moments > 2, "text": kept}, errors.read()


def stutter(group, ended):
    """Lets the processes of `group` run for 5 of 50 ms."""
    for number, pause in itertools.cycle(((signal.SIGSTOP, 0.045), (signal.SIGCONT, 0.005))):
        if number == signal.SIGSTOP and ended.is_set():
            return
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        time.sleep(pause)


def moments_of(times):
    """How often something came that had not come at once after what was before it; in seconds."""
    return sum(later - earlier > 0.015 for earlier, later in zip([-1.0, *times], times))


def body_of(job, facts):
    """Of what `stream` saw, what is the same each time."""
    if job.get("take") or job["method"] == "HEAD":
        return {}
    return {key: facts[key] for key in ("bytes", "sha256", *(["slow"] if job.get("slow_answer") else []))}


def curl(runner, job):
    head = f"{runner.dir}/head-{job['id']}"
    words = ["curl", "-q", "-sS", "-N", "--cacert", runner.trust, "-X", job["method"], "-D", head, "-w", "%{stderr}%{http_version} %{num_redirects}"]
    words += ["--http1.1" if job["version"] == "h1" else "--http2", "-m", str(LIMIT)]
    if job["method"] == "HEAD":
        words += ["-I"]
    if job.get("follow"):
        words += ["-L"]
    if job.get("decode"):
        words += ["--compressed"]
    if job.get("rate") or job.get("slow_upload"):
        words += ["--limit-rate", str(job.get("rate") or job["upload_size"] // 3)]
    if job.get("upload"):
        words += ["-T", job["upload"], "-H", "Expect:" + (" 100-continue" if job.get("expect") else "")]
    if job.get("chunked"):
        words[-3:-2] = ["-"]
        words = ["sh", "-c", 'file=$0; exec "$@" <"$file"', job["upload"], *words]
    for name, value in job["headers"].items():
        words += ["-H", f"{name}: {value}"]
    code, facts, said = runner.stream(*words, job["url"], take=job.get("take"))
    with open(head) as file:
        return {"exit": code, "said": said, "head": file.read().splitlines(), **body_of(job, facts)}


def wget(runner, job):
    words = ["wget", "-nv", "-S", "--tries=1", f"--ca-certificate={runner.trust}", f"--timeout={LIMIT}", "--no-config", "--no-hsts",
             f"--method={job['method']}"]
    if job.get("decode"):
        words += ["--compression=gzip"]
    if job.get("rate"):
        words += [f"--limit-rate={job['rate']}"]
    if job.get("upload"):
        words += [f"--body-file={job['upload']}"]
    for name, value in job["headers"].items():
        words += [f"--header={name}: {value}"] if name != "accept-encoding" else []
    code, facts, said = runner.stream(*words, "-O", "-", job["url"], take=job.get("take"))
    said = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\([\d.]+ .B/s\)", "", said)  # when, and how fast
    return {"exit": code, "said": said.splitlines(), **body_of(job, facts)}


def nghttp(runner, job):
    words = ["nghttp", "--no-verify-peer", "-H", f":method: {job['method']}"]
    if job.get("upload"):
        words += ["-d", job["upload"]]
    words += ["--no-content-length"] if job.get("chunked") else []
    words += ["--expect-continue"] if job.get("expect") else []
    for name, value in job.get("send_trailers", {}).items():
        words += [f"--trailer={name}: {value}"]
    for name, value in job["headers"].items():
        words += ["-H", f"{name}: {value}"]
    code, facts, said = runner.stream(*words, job["url"], take=job.get("take"), rate=job.get("rate"))
    again, shown, _ = runner.stream(*words, "-nv", job["url"], take=b"recv DATA" if job.get("take") else None)
    shown = shown["text"].decode()
    fields = re.findall(r"recv \(stream_id=\d+\) (\S+: .*|\S+)", shown)
    ended = re.findall(r"recv (RST_STREAM|GOAWAY) .*\n *\((.*)\)", shown)
    facts["slow"] = moments_of([float(seconds) for seconds in re.findall(r"\[ *([\d.]+)\] recv DATA", shown)]) > 2
    return {"exit": [code, again], "said": said, "fields": fields, "ended": ended, **body_of(job, facts)}


def h2load(runner, job):
    count = 2 if job["cell"] in ("download", "nghttpd", "upload") else 1 if job["cell"].startswith(("client_", "server_", "slow_")) else 20
    words = ["h2load", f"-n{count}", f"-c{min(count, 2)}", f"-m{4 if job['version'] == 'h2' else 1}", "-H", f":method: {job['method']}"]
    words += ["--h1"] if job["version"] == "h1" else []
    words += ["-T", "4"] if job.get("take") else []
    words += ["-d", job["upload"]] if job.get("upload") else []
    words += ["-H", "expect: 100-continue"] if job.get("expect") else []
    for name, value in job["headers"].items():
        words += ["-H", f"{name}: {value}"]
    said = (runner.run_stuttering if job.get("rate") else runner.run)(*words, job["url"])
    text = said.stdout.decode()
    facts = re.findall(r"(?m)^(?:requests|status codes):.*|\(\d+\) data", text)
    result = {"exit": said.returncode, "said": facts[:2] if job.get("take") else facts}
    if job.get("slow_answer"):  # long before its end it has begun
        result["slow"] = time_of("time to 1st byte", text) < time_of("time for request", text) / 2
    return result


def time_of(what, text):
    """The longest, in seconds, of what h2load has measured."""
    longest = re.search(rf"(?m)^{what}: +\S+ +([\d.]+)(us|ms|s) ", text)
    return float(longest[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[longest[2]] if longest else -1.0


def git(runner, job):
    ident, cell = job["id"], job["cell"]
    into = f"{runner.dir}/clone-{ident}-{os.path.basename(runner.trust)}"
    port = f"http://one.test:{OWN_PLAIN}/{ident}/git" if cell == "plain" else runner.origins.url("own", job["version"], ident, "git")
    options = [f"http.sslCAInfo={runner.trust}", "http.version=HTTP/" + ("2" if job["version"] == "h2" else "1.1"), f"http.extraHeader=x-cell: {ident}"]
    if cell == "upload":
        options += [f"http.postBuffer={128 << 20}"]
    if cell == "client_abort":
        options += ["http.lowSpeedLimit=100000", "http.lowSpeedTime=3"]
    words = ["git", *[word for option in options for word in ("-c", option)]]
    if cell in ("upload", "chunked_upload"):
        target = f"{runner.dir}/repositories/push-{ident}.git"
        done = runner.run(*words, "-C", f"{runner.dir}/repositories/medium.git", "push", "-q", f"{port}/push-{ident}.git", "main")
        content = subprocess.run(["git", "-C", target, "rev-parse", "main"], capture_output=True).stdout
    else:
        name = {"download": "large", "redirect": "moved", "slow_server": "medium", "slow_reader": "medium"}.get(cell, "small")
        done = (runner.run_stuttering if job.get("rate") else runner.run)(*words, "clone", "-q", f"{port}/{name}.git", into)
        content = b"".join(open(f"{into}/{file}", "rb").read() for file in sorted(os.listdir(into)) if file != ".git") if done.returncode == 0 else b""
        shutil.rmtree(into, ignore_errors=True)
    said = re.sub(r"\d+ bytes|clone-\S+", "", done.stderr.decode())
    return {"exit": done.returncode, "said": said, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def apt(runner, job):
    into = f"{runner.dir}/apt-{job['id']}"
    options = [f"Acquire::https::CaInfo={runner.trust}", "APT::Sandbox::User=root", "Acquire::Retries=0", f"Dir={into}", "Debug::NoLocking=1",
               f"Acquire::https::Timeout={LIMIT}"]
    if job.get("rate"):
        options += [f"Acquire::https::Dl-Limit={job['rate'] >> 10}"]
    words = [word for option in options for word in ("-o", option)]
    for folder in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial",
                   "var/lib/dpkg"):
        os.makedirs(f"{into}/{folder}", exist_ok=True)
    try:
        if job["cell"] == "not_modified":
            return {"twice": [update(runner, into, words, job) for _ in range(2)]}
        download = ["/usr/lib/apt/apt-helper", *words, "download-file", job["url"], f"{into}/file"]
        if job.get("take"):
            return runner.leave(download, f"{into}/file", job["take"])
        done = runner.run(*download)
        result = {"exit": done.returncode, "errors": [line for line in done.stderr.decode().splitlines() if line.startswith("E:")]}
        if os.path.exists(f"{into}/file"):
            with open(f"{into}/file", "rb") as file:
                result.update(sha256=hashlib.sha256(file.read()).hexdigest())
        return result
    finally:
        shutil.rmtree(into)


def update(runner, into, words, job):
    source = job["url"].rsplit("/", 1)[0]
    with open(f"{into}/etc/apt/sources.list", "w") as file:
        file.write(f"deb [trusted=yes] {source}/apt ./\n")
    open(f"{into}/var/lib/dpkg/status", "a").close()
    done = runner.run("apt-get", *words, "-o", "Acquire::Languages=none", "update")
    said = [line.split(" [")[0] for line in done.stdout.decode().splitlines() if re.match(r"(Get|Hit|Ign|Err):", line)]
    return {"exit": done.returncode, "said": sorted(said), "errors": done.stderr.decode()}


def complete(jobs, results, done):
    found = {result.pop("id"): result for result in results}
    return {job["id"]: found.get(job["id"]) or {"failed": [done.returncode, done.stderr.decode()[-2000:]]} for job in jobs}


def lines_of_json(runner, jobs, *words):
    done = runner.run(*words, input=json.dumps(jobs).encode())
    return complete(jobs, map(json.loads, done.stdout.decode().splitlines()), done)


def node(runner, jobs):
    return lines_of_json(runner, jobs, "node", f"{HERE}/client.js", runner.trust)


def urllib(runner, jobs):
    return lines_of_json(runner, jobs, "/usr/bin/python3", f"{HERE}/client.py", "urllib", runner.trust)


def requests(runner, jobs):
    return lines_of_json(runner, jobs, "/usr/bin/python3", f"{HERE}/client.py", "requests", runner.trust)


def java(runner, jobs):
    def line(job):
        fields = {key: value for key, value in job.items() if not isinstance(value, dict)}
        fields.update({f"header:{name}": value for name, value in job["headers"].items()})
        return "\t".join(f"{key}={value}" for key, value in fields.items())

    done = runner.run("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"{HERE}/Client.java", runner.trust, input="\n".join(map(line, jobs)).encode())
    results = [dict(field.split("=", 1) for field in line.split("\t")) for line in done.stdout.decode().splitlines()]
    for result in results:
        result["headers"] = re.sub(r"date=\[[^]]*\],? ?", "", result.get("headers", ""))
    return complete(jobs, results, done)


CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync",
            "--disable-component-update", "--disable-domain-reliability", "--disable-client-side-phishing-detection", "--no-first-run",
            "--no-default-browser-check", "--allow-running-insecure-content", "--enable-logging=stderr", "--no-pings", "--disable-extensions", "--disable-default-apps"]


def start_chromium(runner, url, *more):
    """A browser with a profile and a home of its own, in which the roots in the file `runner.trust` are trusted."""
    home = f"{runner.dir}/chromium-{time.monotonic_ns()}"
    store = f"{home}/.pki/nssdb"
    # An address that becomes usable later is a change of network, at which chromium gives up what it is loading.
    wait_for(lambda: not runner.origins.world.run("ip", "address", "show", "tentative").stdout, "the namespace's own addresses")
    os.makedirs(store)
    subprocess.run(["certutil", "-N", "--empty-password", "-d", f"sql:{store}"], check=True, capture_output=True)
    subprocess.run(["certutil", "-A", "-n", "e2e", "-t", "C,,", "-d", f"sql:{store}", "-a", "-i", runner.trust], check=True, capture_output=True)
    words = [*CHROMIUM, f"--user-data-dir={home}/profile", *more, url]
    with open(f"{home}/stderr", "w") as errors:
        process = subprocess.Popen(runner.wrapped(words), env={**runner.environment, "HOME": home}, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                                   start_new_session=True)
    process.said = f"{home}/stderr"
    return process


def end_chromium(process):
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def chromium(runner, jobs):
    from urllib.parse import quote
    report = f"{runner.origins.reports}/chromium"
    page = runner.origins.url("own", "h2", "chromium", "page") + "#" + quote(json.dumps(jobs))
    process = start_chromium(runner, page, "--disable-web-security")
    until = time.monotonic() + LIMIT
    while not os.path.exists(report) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    end_chromium(process)
    if not os.path.exists(report):
        with open(process.said) as file:
            return {job["id"]: {"failed": [process.returncode, file.read()[-2000:]]} for job in jobs[:1]}
    with open(report) as file:
        return {result.pop("id"): result for result in json.load(file)}


ALONE = {"curl": curl, "wget": wget, "git": git, "apt": apt, "nghttp": nghttp, "h2load": h2load}
TOGETHER = {"node": node, "urllib": urllib, "requests": requests, "java": java, "chromium": chromium}


def tasks(runner, client):
    """Functions that give {id: result} and may be called at the same time."""
    jobs = [job_of(runner.origins, client, version, name) for version, name in cells_of(client)]
    if client in TOGETHER:
        return [lambda: TOGETHER[client](runner, jobs)]
    return [lambda job=job: {job["id"]: ALONE[client](runner, job)} for job in jobs]
