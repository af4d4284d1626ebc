"""A kernel, and then an app, eats the memory of its space: who dies, who lives, and what is told of it.

Runs in the test VM as root, outside of the space's cgroup (its only argument). Prints a line for each check, and ends
with the number of those that failed. What it measured is in /out/figures, the agent's log in /out/log, the last status
in /out/status.json. Everything here is ten times slower than elsewhere, so it waits long, but always for a condition.
"""

import http.cookiejar
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import jupyter_client

GROUP = pathlib.Path(sys.argv[1])
OUT = pathlib.Path("/out")
AGENT = "/test/space-agent"
DOOR = "http://127.0.0.1:8888"
LAB = DOOR + "/jupyterlab/default/"
NOTEBOOK = "train.ipynb"
# Slowly enough that the agent can warn.
GROW = """
import time
held = []
while True:
    held.append(b"x" * 5_000_000)
    time.sleep(0.1)
"""

failed = 0


def check(sentence, holds, seen):
    """Says whether `sentence` holds; if not, what was seen instead."""
    global failed
    failed += not holds
    print(f"ok      {sentence}" if holds else f"FAILED  {sentence}: {seen}", flush=True)


def figure(text):
    print(f"figure: {text}", flush=True)
    with open(OUT / "figures", "a") as file:
        print(text, file=file)


def wait_for(what, seconds, look):
    """Looks until that gives something; ends everything when the time is over."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    sys.exit(f"waited {seconds} s for {what}")


def soon(seconds, look):
    """Looks until that gives something, or the time is over."""
    begin = time.monotonic()
    while not (found := look()) and time.monotonic() - begin < seconds:
        time.sleep(0.2)
    return found


def start():
    """`space-agent run` in the space's cgroup."""
    log = open(OUT / "log", "w")
    script = f"echo $$ >{GROUP}/cgroup.procs && exec {AGENT} run /test/space.yaml"
    return subprocess.Popen(["sh", "-c", script], stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def status():
    """Nothing until the agent answers."""
    done = subprocess.run([AGENT, "status", "--json", "--space", "vm"], capture_output=True, text=True)
    if done.returncode != 0:
        return None
    (OUT / "status.json").write_text(done.stdout)
    return json.loads(done.stdout)


def app(name, told):
    return next(app for app in told["apps"] if app["name"] == name)


def ready():
    told = status()
    return told if told and all(app["state"] == "ready" for app in told["apps"]) else None


def texts(told):
    return [event["text"] for event in told.get("events", [])]


def events_with(*words):
    """The texts of events that have all these words."""
    return [text for text in texts(status() or {}) if all(word in text for word in words)]


def score(pid):
    return int(pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text())


def started(pid):
    """With the pid, the identity of a process; nothing if there is none."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19]
    except OSError:
        return None


def kills():
    """How many processes of the space the system has ended for memory."""
    lines = (GROUP / "memory.events").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("oom_kill ")))


def signed_in():
    """A program at the front door, as the README says it."""
    jar = http.cookiejar.CookieJar()
    client = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    client.addheaders = [("Origin", DOOR)]
    link = subprocess.run([AGENT, "sign-in", "--space", "vm"], capture_output=True, text=True, check=True).stdout
    token = link.strip().partition("#")[2].removeprefix("token=")
    client.open(DOOR + "/_space/sign-in", urllib.parse.urlencode({"token": token}).encode(), timeout=60)
    client.open(LAB + "lab", timeout=120)
    xsrf = next(cookie.value for cookie in jar if cookie.name == "_xsrf")
    client.addheaders += [("X-XSRFToken", xsrf), ("Content-Type", "application/json")]
    return client


def ask(client, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with client.open(urllib.request.Request(LAB + path, data, method=method), timeout=120) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def kernel_process(id):
    """The pid and the connection file of a kernel."""
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        file = next((part for part in arguments if part.endswith(f"kernel-{id}.json")), None)
        if file:
            return int(entry.name), file
    return None


def kernel_of(client):
    """Opens the notebook: its session, its kernel's pid, and a client that has seen the kernel answer."""
    body = {"path": NOTEBOOK, "name": NOTEBOOK, "type": "notebook", "kernel": {"name": "python3"}}
    session = ask(client, "POST", "api/sessions", body)
    pid, file = wait_for("the kernel", 120, lambda: kernel_process(session["kernel"]["id"]))
    # The server writes the file before it starts the kernel.
    kernel = jupyter_client.BlockingKernelClient(connection_file=file)
    kernel.load_connection_file()
    # No heartbeat: a kernel this slow would be taken for dead.
    kernel.start_channels(hb=False)
    kernel.kernel_info(reply=True, timeout=180)
    return session, pid, kernel


def the_start():
    begin = time.monotonic()
    told = wait_for("the space to be ready", 500, ready)
    figure(f"vm: ready {time.monotonic() - begin:.0f} s after the start")
    init, agent, server = told["agent"]["init_pid"], told["agent"]["pid"], app("default", told)["pid"]
    isolation = told.get("isolation")
    check("status names the isolation mode uid", "uid" in json.dumps(isolation), isolation)
    for what, pid, expected in [("init", init, -900), ("the agent", agent, -900), ("JupyterLab", server, 300)]:
        check(f"{what} has oom_score_adj {expected}", score(pid) == expected, score(pid))
    return told


def a_kernel_eats_all(client, before):
    agent, server = before["agent"]["pid"], app("default", before)["pid"]
    session, pid, kernel = kernel_of(client)
    check("the kernel has oom_score_adj 700", soon(30, lambda: score(pid) == 700), score(pid))
    born, killed, begin = started(pid), kills(), time.monotonic()
    kernel.execute(GROW)
    wait_for("the kernel to die", 180, lambda: started(pid) != born)
    figure(f"vm: a kernel reached the limit of 400 MB {time.monotonic() - begin:.1f} s after its cell began to grow")
    kernel.stop_channels()
    count = kills() - killed
    check("the system has ended one process for memory", count == 1, count)
    begin = time.monotonic()
    named = soon(60, lambda: events_with(NOTEBOOK, "ended by the system"))
    figure(f"vm: the status named the notebook {time.monotonic() - begin:.1f} s after its kernel's end: {named}")
    after = status()
    check("an event names the notebook whose kernel was ended", named, texts(after))
    warned = events_with(NOTEBOOK, " uses ", " of its 400 MB")
    check("an event warned of it before, with the notebook's name", warned, texts(after))
    check("the agent lives", after["agent"]["pid"] == agent and after["agent"]["starts"] == 1, after["agent"])
    default = app("default", after)
    check("JupyterLab lives", default["pid"] == server and default["restarts"] == 0, default)
    ask(client, "DELETE", f"api/sessions/{session['id']}")


def an_app_eats_all(client, before):
    eater, killed = app("eater", before), kills()
    try:
        client.open(DOOR + eater["base_path"] + "eat", timeout=180)
    except OSError as error:
        print(f"the answer: {error}", flush=True)

    why = soon(60, lambda: app("eater", status() or before).get("why"))
    check("why the app ended is told: for memory", "memory" in (why or ""), why)
    # The system may end JupyterLab with it: both are servers, and what the first gives back comes late.
    check("the system has ended it for memory", kills() > killed, kills() - killed)
    check("an event tells it", soon(30, lambda: events_with("eater", "memory")), texts(status()))
    told = status()
    check("the agent lives", told["agent"]["pid"] == before["agent"]["pid"], told["agent"])


def the_end(run):
    begin = time.monotonic()
    subprocess.run([AGENT, "stop", "--yes", "--space", "vm"], capture_output=True, timeout=120)
    code = run.wait(timeout=120)
    figure(f"vm: stopped within {time.monotonic() - begin:.1f} s")
    check("the space ends with exit code 0", code == 0, code)
    left = (GROUP / "cgroup.procs").read_text().split()
    check("nothing is left in its cgroup", not left, left)


def main():
    run = start()
    before = the_start()
    client = signed_in()
    a_kernel_eats_all(client, before)
    an_app_eats_all(client, before)
    the_end(run)
    for event in json.loads((OUT / "status.json").read_text()).get("events", []):
        print(f"event: {event['text']}")
    print(f"{failed} checks failed", flush=True)
    return failed


if os.path.exists(AGENT):
    sys.exit(main())
sys.exit("there is no /test/space-agent")
