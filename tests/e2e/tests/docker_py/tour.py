"""docker-py's high-level API, areas containers and images, on the engine that DOCKER_HOST names.

The first argument is an archive with the image busybox:latest. Prints one line for each check that
passed; ends with 1 at the first that did not.
"""

import io
import sys
import tarfile
import threading
import time

import docker
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound

client = docker.from_env(timeout=30)


def check(what, condition):
    if not condition:
        print("FAILED:", what)
        sys.exit(1)
    print("ok:", what)


def raises(what, kind, work, status=None):
    try:
        work()
    except kind as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        check(f"{what}: {kind.__name__}", status is None or code == status)
        return error
    check(f"{what} raises {kind.__name__}", False)


def make(**more):
    options = {"network_mode": "none", "detach": True, "labels": {"suite": "docker-py"}}
    options.update(more)
    return client.containers.run("busybox", **options)


def engine():
    check("ping", client.ping() is True)
    check("version", client.version()["ApiVersion"] >= "1.44")
    check("info", client.info()["OSType"] == "linux")
    check("df", "LayersSize" in client.df())
    old = docker.from_env(version="1.30")
    check("an old version", old.ping() and old.api._version == "1.30")
    raises("a version that is too new", APIError,
           lambda: docker.from_env(version="1.99").containers.list(), 400)


def images(archive):
    with open(archive, "rb") as data:
        loaded = client.images.load(data.read())
    check("images.load", [image.tags for image in loaded] == [["busybox:latest"]])
    image = client.images.get("busybox")
    check("images.get", image.id == loaded[0].id and image.short_id.startswith("sha256:"))
    check("images.list", image.id in [one.id for one in client.images.list()])
    check("images.list by name", [one.id for one in client.images.list(name="busybox")] == [image.id])
    check("images.list by filter",
          client.images.list(filters={"reference": "nosuch*"}) == [])
    check("image.tag", image.tag("pytour", tag="v1") is True)
    image.reload()
    check("image.tags", sorted(image.tags) == ["busybox:latest", "pytour:v1"])
    check("image.labels", image.labels == {} or image.labels is None)
    check("image.attrs", image.attrs["Os"] == "linux" and image.attrs["Config"]["Cmd"] == ["sh"])
    check("image.history", len(image.history()) >= 1)
    saved = b"".join(image.save(named="pytour:v1"))
    names = tarfile.open(fileobj=io.BytesIO(saved)).getnames()
    check("image.save", "manifest.json" in names)
    client.images.remove("pytour:v1")
    check("images.remove", client.images.get("busybox").tags == ["busybox:latest"])
    check("images.load of what was saved",
          [one.id for one in client.images.load(saved)] == [image.id])
    check("the saved tag", "pytour:v1" in client.images.get("pytour:v1").tags)
    client.images.remove("pytour:v1", force=True)
    raises("images.get of none", ImageNotFound, lambda: client.images.get("nosuch:v1"), 404)
    raises("images.remove of none", ImageNotFound, lambda: client.images.remove("nosuch:v1"), 404)
    check("images.prune", "SpaceReclaimed" in client.images.prune())


def run():
    check("run", client.containers.run("busybox", "echo hello", network_mode="none",
                                       remove=True) == b"hello\n")
    both = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], remove=True,
                                 network_mode="none", stdout=False, stderr=True)
    check("run, stderr alone", both == b"err\n")
    error = raises("run that fails", ContainerError, lambda: client.containers.run(
        "busybox", ["sh", "-c", "echo why >&2; exit 3"], network_mode="none", remove=True))
    check("its exit status", error.exit_status == 3 and error.stderr == b"why\n")
    raises("run of no image", ImageNotFound,
           lambda: client.api.create_container("nosuch:v1"), 404)
    raises("run of no command", APIError, lambda: client.containers.run(
        "busybox", "/nosuch", network_mode="none", remove=True))
    lines = client.containers.run("busybox", ["sh", "-c", "echo a; echo b"], network_mode="none",
                                  stream=True, remove=True)
    check("run, streamed", b"".join(lines) == b"a\nb\n")


def options():
    volume = client.volumes.create("pydata", labels={"suite": "docker-py"})
    check("volumes.create", volume.name == "pydata" and client.volumes.get("pydata").id == "pydata")
    mounts = {"pydata": {"bind": "/data", "mode": "rw"}}
    client.containers.run("busybox", ["sh", "-c", "echo kept > /data/x"], remove=True,
                          network_mode="none", volumes=mounts)
    told = client.containers.run(
        "busybox", ["sh", "-c", "echo $A; pwd; id -u; hostname; cat /data/x"], remove=True,
        environment={"A": "b"}, working_dir="/tmp", user="33", hostname="box",
        network_mode="none", tmpfs={"/scratch": "size=1m"}, mem_limit="64m", pids_limit=50,
        read_only=True, cap_drop=["ALL"], volumes=mounts, init=True)
    check("run with options", told == b"b\n/tmp\n33\nbox\nkept\n")
    check("volumes.list", [one.name for one in client.volumes.list(
        filters={"label": "suite=docker-py"})] == ["pydata"])
    volume.remove()
    raises("volumes.get of none", NotFound, lambda: client.volumes.get("pydata"), 404)


def life():
    box = make(name="pybox", command=["sh", "-c", "echo begun; echo wrong >&2; exec sleep 1000"])
    check("run, detached", box.status in ("created", "running"))
    for line in box.logs(stream=True, follow=True, stderr=False):
        check("logs, followed", line == b"begun\n")
        break
    box.reload()
    check("container.status", box.status == "running" and box.name == "pybox")
    check("container.image", box.image.tags == ["busybox:latest"])
    check("container.labels", box.labels == {"suite": "docker-py"})
    check("container.attrs", box.attrs["State"]["Running"] is True
          and box.attrs["HostConfig"]["NetworkMode"] == "none")
    check("containers.get", client.containers.get("pybox").id == box.id)
    check("containers.list", [one.id for one in client.containers.list(
        filters={"label": "suite=docker-py", "status": "running"})] == [box.id])
    check("containers.list of none", client.containers.list(filters={"name": "nosuch"}) == [])
    check("logs, stdout", box.logs(stderr=False) == b"begun\n")
    check("logs, tail", box.logs(tail=0) == b"")
    stamp = box.logs(timestamps=True, stderr=False).split()[0]
    check("logs, timestamps", stamp.startswith(b"20") and stamp.endswith(b"Z"))
    raises("start of no container", NotFound, lambda: client.containers.get("nosuch").start(), 404)
    box.start()
    check("start twice", True)
    raises("remove of a running one", APIError, box.remove, 409)

    check("exec_run", box.exec_run("echo in") == (0, b"in\n"))
    check("exec_run that fails", box.exec_run(["sh", "-c", "exit 7"]).exit_code == 7)
    check("exec_run, apart", box.exec_run(
        ["sh", "-c", "echo out; echo err >&2"], demux=True) == (0, (b"out\n", b"err\n")))
    code, stream = box.exec_run(["sh", "-c", "echo a; echo b"], stream=True)
    check("exec_run, streamed", code is None and b"".join(stream) == b"a\nb\n")
    check("exec_run, terminal", box.exec_run("tty", tty=True).output.strip().startswith(b"/dev/"))
    check("exec_run, options", box.exec_run(
        ["sh", "-c", "echo $A; pwd; id -u"], environment={"A": "b"}, workdir="/tmp",
        user="33").output == b"b\n/tmp\n33\n")
    check("exec_run, detached", box.exec_run("true", detach=True).output in (b"", ""))
    check("exec_run of nothing", box.exec_run("/nosuch").exit_code == 127)
    code, socket = box.exec_run("cat", stdin=True, socket=True)
    raw = socket._sock
    raw.sendall(b"through\n")
    check("exec_run, socket", raw.recv(8) == b"\x01\0\0\0\0\0\0\x08" and raw.recv(8) == b"through\n")
    raw.close()
    made = client.api.exec_create(box.id, ["sleep", "1000"])["Id"]
    client.api.exec_start(made, detach=True)
    check("exec_inspect", client.api.exec_inspect(made)["Running"] is True)

    check("top", "sleep" in str(box.top()["Processes"]))
    check("stats", box.stats(stream=False)["pids_stats"]["current"] >= 1)
    check("stats, streamed", next(box.stats(decode=True))["id"] == box.id)
    box.pause()
    box.reload()
    check("pause", box.status == "paused")
    box.unpause()
    box.rename("pyrenamed")
    box.reload()
    check("rename", box.name == "pyrenamed")
    box.update(mem_limit="64m", memswap_limit="64m")
    box.reload()
    check("update", box.attrs["HostConfig"]["Memory"] == 64 << 20)
    box.restart(timeout=0)
    box.reload()
    check("restart", box.status == "running")
    box.stop(timeout=0)
    check("stop and wait", box.wait()["StatusCode"] == 137)
    raises("exec in a stopped one", APIError, lambda: box.exec_run("true"), 409)
    raises("kill of a stopped one", APIError, box.kill, 409)
    box.remove()
    raises("containers.get of a removed one", NotFound, box.reload, 404)


def files():
    box = make(name="pyfiles", command=["sleep", "1000"])
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo("put")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"bytes"))
    check("put_archive", box.put_archive("/tmp", data.getvalue()) is True)
    check("what was put", box.exec_run("cat /tmp/put").output == b"bytes")
    stream, stat = box.get_archive("/tmp/put")
    content = tarfile.open(fileobj=io.BytesIO(b"".join(stream))).extractfile("put").read()
    check("get_archive", content == b"bytes" and stat["name"] == "put" and stat["size"] == 5)
    raises("get_archive of nothing", NotFound, lambda: box.get_archive("/nosuch"), 404)
    check("diff", {"Path": "/tmp/put", "Kind": 1} in box.diff())
    names = tarfile.open(fileobj=io.BytesIO(b"".join(box.export()))).getnames()
    check("export", "tmp/put" in names)
    image = box.commit("pycommit", "v1", message="said", author="me", changes="CMD cat /tmp/put")
    check("commit", image.tags == ["pycommit:v1"] and image.attrs["Author"] == "me")
    check("run of what was committed", client.containers.run(
        "pycommit:v1", network_mode="none", remove=True) == b"bytes")
    client.images.remove("pycommit:v1")
    box.remove(force=True)


def attach():
    box = client.containers.create("busybox", ["sh", "-c", "read x; echo got $x; echo e >&2"],
                                   stdin_open=True, network_mode="none", name="pyattach")
    check("create", box.status == "created")
    stream = box.attach(stream=True, stdout=True, stderr=True, demux=True)
    socket = box.attach_socket(params={"stdin": 1, "stream": 1})
    box.start()
    socket._sock.sendall(b"typed\n")
    out = [b"", b""]
    for pair in stream:
        for index in (0, 1):
            out[index] += pair[index] or b""
    check("attach", out == [b"got typed\n", b"e\n"])
    check("its end", box.wait()["StatusCode"] == 0)
    socket.close()
    box.remove(v=True)
    terminal = client.containers.create("busybox", "tty", tty=True, network_mode="none")
    stream = terminal.attach(stream=True)
    terminal.start()
    check("attach to a terminal", b"".join(stream).strip().startswith(b"/dev/"))
    terminal.wait()
    terminal.remove()


def events():
    seen = []
    stream = client.events(decode=True, filters={"type": "container", "label": "suite=docker-py"})
    reader = threading.Thread(target=lambda: seen.extend(
        event["Action"] for event in iter(lambda: next(stream, None), None)), daemon=True)
    reader.start()
    box = make(command=["sh", "-c", "exit 5"], name="pyevents")
    check("wait", box.wait(condition="not-running")["StatusCode"] == 5)
    box.remove()
    reader.join(0.5)
    past = client.events(decode=True, since=0, until=int(time.time()) + 1,
                         filters={"container": "pyevents"})
    actions = [event["Action"] for event in past]
    check("events", actions == ["create", "start", "die", "destroy"])
    check("events, followed", set(seen) <= {"create", "start", "die", "destroy"})
    stream.close()
    check("containers.prune", "SpaceReclaimed" in client.containers.prune())


engine()
images(sys.argv[1])
run()
options()
life()
files()
attach()
events()
client.images.remove("busybox", force=True)
check("nothing is left", client.containers.list(all=True) == [] and client.images.list() == [])
