"""What the measuring scripts share: an origin, the proxy in a directory of its own, clients made of sockets, what /proc
says of a process, and the place in docs/performance.md where a table goes. Everything is on loopback; only what was started here is ended."""
import json, os, platform, re, shutil, socket, ssl, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VALUE = "value-for-measurements-0123456789"
NAME = "origin.example.com"
PAGE = os.path.join(HERE, "docs/performance.md")


def build(profile="release", *more):
    """The binary and the origin; says where the binary lies."""
    subprocess.run(["cargo", "build", "--quiet", "--profile", profile, "--locked", "--bin", "subrosa", "--example", "origin", *more], cwd=HERE, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "target")), profile, "subrosa")


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores ({model}), {platform.system()} {platform.release().split('-')[0]}"


def write_section(name, text, page=PAGE):
    """Puts `text` between the marks of `name` in a page, docs/performance.md by itself; what stands around them is written by hand."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    whole = open(page, encoding="utf-8").read()
    if begin not in whole or end not in whole:
        sys.exit(f"{os.path.relpath(page, HERE)} has no place for {name}: it lacks {begin} and {end}")
    before, after = whole.split(begin, 1)[0], whole.split(end, 1)[1]
    with open(page + ".new", "w", encoding="utf-8") as new:
        new.write(f"{before}{begin}\n{text.strip()}\n{end}{after}")
    os.replace(page + ".new", page)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def read(path):
    return open(path).read().strip() if os.path.exists(path) and os.path.getsize(path) else None


def cpu(pid):
    """CPU seconds that a process has used, its threads together."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid, what="VmRSS"):
    """MiB that a process has resident, or had at most with VmHWM."""
    return int(next(line for line in open(f"/proc/{pid}/status") if line.startswith(what)).split()[1]) / 1024


class Rig:
    """A directory of its own, and the processes in it; both are gone at the end."""

    def __init__(self, binary):
        self.binary = binary
        self.place = tempfile.TemporaryDirectory(prefix="subrosa-rig-")
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            self.end(process)
        self.place.cleanup()

    def end(self, process):
        if process.poll() is None:
            process.kill()
        process.wait()

    def at(self, *names):
        return os.path.join(self.place.name, *names)

    def run(self, argv, log, **more):
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=open(self.at(log), "ab"), stderr=subprocess.STDOUT, cwd=self.place.name, **more)
        self.running.append(process)
        return process

    def until(self, what, about, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            found = what()
            if found:
                return found
            time.sleep(0.005)
        logs = [self.at(name) for name in os.listdir(self.place.name) if name.endswith(".log")]
        sys.exit(f"{about} did not come in time\n" + "".join(f"{name}:\n{open(name).read()[-1000:]}\n" for name in logs))

    def start_origin(self):
        """examples/origin; (plain, TLS) are its addresses, origin/ca.pem whom it is signed by."""
        self.run([os.path.join(os.path.dirname(self.binary), "examples/origin"), "origin"], "origin.log")
        self.until(lambda: read(self.at("origin/tls")) and read(self.at("origin/plain")), "the origin")
        self.plain, self.tls = read(self.at("origin/plain")), read(self.at("origin/tls"))
        return self.plain, self.tls

    def write_config(self, port, data="data", more="", proxy=""):
        path = self.at(f"{data}.toml")
        with open(path, "w") as file:
            file.write(f"""
data_dir = "{data}"
[proxy]
listen = ["127.0.0.1:{port}"]
{proxy}
[admin]
listen = []
[egress]
allow = ["127.0.0.0/8"]
extra_roots = ["origin/ca.pem"]
[egress.resolve]
"{NAME}" = "127.0.0.1"
{more}
""")
        return path

    def command(self, *arguments, config, given=VALUE):
        done = subprocess.run([self.binary, *arguments, "--config", config], input=given, capture_output=True, text=True, cwd=self.place.name)
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout

    def serve(self, port, config, before=(), log="subrosa.log", seconds=60, env=None):
        """The server, once it listens. With port 0 it takes one by itself, which nobody can take before it: `process.port` says which."""
        process = self.run([*before, self.binary, "serve", "--config", config], log, env={**os.environ, **(env or {})})
        process.port = self.until(lambda: self.listening(port, log) or process.poll() is not None, "subrosa", seconds)
        if process.poll() is not None:
            sys.exit(f"subrosa ended: {open(self.at(log)).read()[-3000:]}")
        return process

    def listening(self, port, log):
        if port:
            return port if answers(port) else None
        doors = [line for line in open(self.at(log)) if '"door":"proxy"' in line]
        found = doors and re.search(r'"address":"127\.0\.0\.1:(\d+)"', doors[0])
        return int(found[1]) if found else None


class Client:
    """One kept connection to the proxy: in the clear, or a tunnel with TLS inside if `target` is given."""

    def __init__(self, port, target=None, ca=None, name=NAME, timeout=60):
        self.stream = socket.create_connection(("127.0.0.1", port), timeout)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target:
            self.stream.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                got = self.stream.recv(4096)
                if not got:
                    break
                head += got
            if b" 200 " not in head[:16]:
                sys.exit(f"CONNECT {target}: {head[:300]}")
            if ca:
                context = ca if isinstance(ca, ssl.SSLContext) else ssl.create_default_context(cafile=ca)
                self.stream = context.wrap_socket(self.stream, server_hostname=name)

    def ask(self, request):
        """Sends `request` and reads the whole answer, which has a Content-Length; it must be a 200."""
        self.stream.sendall(request)
        return self.take()

    def take(self):
        answer = self.stream.recv(65536)
        while b"\r\n\r\n" not in answer:
            got = self.stream.recv(65536)
            if not got:
                sys.exit(f"the connection ended after {answer[:300]}")
            answer += got
        head, rest = answer.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"the answer was {answer[:600]}")
        length = int(re.search(rb"content-length: (\d+)", head, re.I).group(1))
        while len(rest) < length:
            rest += self.stream.recv(65536)
        return rest

    def close(self):
        self.stream.close()


def running_time(pid):
    """CPU seconds again, to the nanosecond where the kernel keeps them (schedstat), otherwise in ticks."""
    try:
        return sum(int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0]) for task in os.listdir(f"/proc/{pid}/task")) / 1e9
    except (FileNotFoundError, IndexError):
        return cpu(pid)


def forget_peak(pid):
    """VmHWM counts from now on."""
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def together(clients, request, times):
    """The request `times` times on each connection: on all of them before the first answer is read."""
    for _ in range(times):
        for client in clients:
            client.stream.sendall(request)
        for client in clients:
            client.take()


def oha():
    """The load generator, built below target/tools if it is not installed."""
    found = shutil.which("oha") or os.path.join(HERE, "target/tools/bin/oha")
    if not os.path.exists(found):
        subprocess.run(["cargo", "install", "--quiet", "--root", os.path.join(HERE, "target/tools"), "--locked", "oha@1.16.0", "--no-default-features",
                        "--features", "rustls"], check=True)
    return found


REQUEST = "Host: {host}\r\nUser-Agent: measure\r\nAccept: */*\r\n{more}\r\n"
KEY = f"X-Key: {{secrets.load.key}}\r\nX-Want: {VALUE}\r\n"
CONTENT = json.dumps({"records": [{"id": index, "name": "Ada Lovelace", "note": "no {braces} of ours"} for index in range(150)], "key": "{secrets.load.key}"})
POST = f"X-Want: {VALUE}\r\nContent-Type: application/json\r\nContent-Length: {len(CONTENT)}\r\n"


def requests(plain, tls):
    """What is asked of a proxy that holds `load.key`: the request, and through a tunnel to where."""
    at = lambda line, host, more, content="": (line + REQUEST.format(host=host, more=more) + content).encode()
    return {
        "request/http, nothing to inject": (at(f"GET http://{plain}/v1 HTTP/1.1\r\n", plain, ""), None),
        "request/http, a reference in a field": (at(f"GET http://{plain}/v1 HTTP/1.1\r\n", plain, KEY), None),
        "request/https intercepted, nothing to inject": (at("GET /v1 HTTP/1.1\r\n", tls, ""), tls),
        "request/https intercepted, a reference in a field": (at("GET /v1 HTTP/1.1\r\n", tls, KEY), tls),
        "request/https intercepted, 10 KB of JSON with a reference": (at("POST /v1 HTTP/1.1\r\n", tls, POST, CONTENT), tls),
        "request/https intercepted, a tunnel and a handshake for each": (at("GET /v1 HTTP/1.1\r\n", tls, KEY), tls),
    }


def ask(connect, request, times, each, client=None):
    """Asks so often, on one connection or on `each` its own. With 0 times only the connection is made, and returned."""
    client = client or (None if each else connect())
    if client is not None and times == 0:
        client.ask(request)
    for _ in range(times):
        one = connect() if each else client
        one.ask(request)
        if each:
            one.close()
    return client
