"""Containers without Docker: a Dockerfile's steps in a root of Debian's, compose's services in it.

What Docker does to a service is done by the kernel here, too: namespaces of its own for mounts,
processes, network and IPC, a root that cannot be written to, another user, no capability, no way
to new ones, its limits of memory and processes as control groups. Not done: Docker's filter of
system calls, and its limit of processors.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import time
from pathlib import Path

SUITE = "bookworm"
PYTHON = ("python3", "python3-venv", "ca-certificates")
SHM_BYTES = 64 << 20  # what Docker gives where `shm_size` says nothing
UNITS = {"m": 1 << 20, "g": 1 << 30}
TRUST = "/etc/ssl/certs"
GROUPS = Path("/sys/fs/cgroup")
# A container's first process, as `init: true` asks for: it passes SIGTERM on, and waits.
INIT = 'trap "kill -TERM \\$child" TERM; "$@" & child=$!; wait $child; wait $child'


def call(*words, **options):
    """Run a command; what it says on stderr is the error."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **options)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-1500:]
        raise SystemExit(f"{shlex.join(map(str, words))[:300]}: status {done.returncode}: {said}")
    return done.stdout


def obstacle():
    """What of this machine does not let a container be made; empty if nothing does."""
    for tool in ("mmdebstrap", "unshare", "nsenter", "ip", "setpriv"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if os.geteuid():
        return "needs root, to make users and mounts"
    tries = {
        "mounts": ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        "processes": ["unshare", "--pid", "--fork", "--mount-proc", "true"],
        "networks": ["unshare", "--net", "ip", "link", "add", "x", "type", "bridge"],
    }
    for name, words in tries.items():
        if subprocess.run(words, capture_output=True).returncode:
            return f"namespaces of {name} are not allowed here"
    return ""


# ---- building
def bootstrap(folder, packages=PYTHON):
    """Debian's root in `folder`, in the place of python:3.11-slim-bookworm."""
    call("mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, folder)
    link = folder / "usr/local/bin/python"
    if "python3" in packages:
        link.symlink_to("/usr/bin/python3")


def instructions(dockerfile):
    """Each instruction of a Dockerfile: its name and the rest of its line."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, rest.strip()


class Image:
    """A root file system and what the Dockerfile says of it."""

    def __init__(self, root):
        self.root, self.place, self.user, self.entry = root, "/", "", []
        self.variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def build(dockerfile, context, base, folder):
    """Do a Dockerfile's steps, each stage in a copy of `base`; an Image."""
    stages, image = {}, None
    for name, rest in instructions(dockerfile):
        if name == "FROM":
            image = Image(folder / f"stage-{len(stages)}")
            stages[rest.partition(" AS ")[2] or str(len(stages))] = image
            call("cp", "-a", "--reflink=auto", base, image.root)
        elif name == "COPY":
            *sources, target = [word for word in shlex.split(rest) if not word.startswith("--")]
            stage = re.search(r"--from=(\S+)", rest)
            source = stages[stage[1]].root if stage else context
            _copy(
                source, sources, image.root / os.path.join(image.place, target).lstrip("/"), target
            )
        elif name == "RUN":
            _run(image, rest)
        elif name == "ENV":
            image.variables |= dict(word.split("=", 1) for word in shlex.split(rest))
            image.variables["PATH"] = image.variables["PATH"].replace("$PATH", _PATH)
        elif name == "WORKDIR":
            image.place = rest
            (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            image.user = rest
        elif name == "ENTRYPOINT":
            image.entry = json.loads(rest)
        elif name != "CMD":
            raise SystemExit(f"{dockerfile}: {name}: not known here")
    return image


_PATH = Image(None).variables["PATH"]


def _copy(source, names, target, told):
    for name in names:
        origin = source / name.lstrip("/")
        into = target / origin.name if told.endswith("/") and origin.is_file() else target
        into.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, into, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy(origin, into)


def _run(image, command):
    """As `docker build` does it: as root, with the network, and pip set up as it is here."""
    ours = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    ours.pop("PIP_FIND_LINKS", None)
    words = [f"{k}={v}" for k, v in {**ours, **image.variables, "HOME": "/root"}.items()]
    inside = f"cd {shlex.quote(image.place)} && {command}"
    script = f"""set -e
        mount --bind {image.root} {image.root}
        mount -t proc proc {image.root}/proc
        mount --rbind /dev {image.root}/dev
        cp -L /etc/resolv.conf {image.root}/etc/resolv.conf
        mount --bind {TRUST} {image.root}{TRUST}
        exec chroot {image.root} env -i {shlex.join(words)} sh -c {shlex.quote(inside)}"""
    call("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script)


# ---- running
class Container:
    """One service of a compose file, as a process in namespaces of its own.

    Args:
        service: what the file says of it, with its variables filled in.
        address: in the network that all services share.
        hosts: the text of /etc/hosts.
        log: file of what it says.
    """

    def __init__(self, name, service, image, address, hosts, log):
        self.name, self.service, self.image = name, service, image
        self.user, _, self.group = service["user"].partition(":")
        self.not_held, self.groups = [], []
        self._connect(address)
        (image.root / "etc/hosts").write_text(hosts)
        shm = service.get("shm_size", f"{SHM_BYTES >> 20}m")
        script = [
            "set -e",
            *self._joined(),
            "mount --make-rprivate /",
            f"mount --bind {image.root} {image.root} && cd {image.root}",
            "mount -t proc proc proc && mount -t tmpfs -o mode=755 none dev",
            "for d in null zero full random urandom tty; do",
            "touch dev/$d; mount --bind /dev/$d dev/$d; done",
            f"mkdir dev/shm && mount -t tmpfs -o size={shm},mode=1777 shm dev/shm",
        ]
        for mount in service["tmpfs"]:
            place, _, options = mount.partition(":")
            script.append(f"mount -t tmpfs -o {options} none .{place}")
        for volume in service["volumes"]:
            source, place, *how = volume.split(":")
            target = image.root / place.lstrip("/")
            if Path(source).is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
            script.append(f"mount --bind {source} .{place}")
            script += [f"mount -o remount,bind,ro .{place}"] if how == ["ro"] else []
        if service["read_only"]:
            script.append(f"mount -o remount,bind,ro {image.root}")
        words = [*image.entry, *service["command"]]
        start = self._demoted("sh", "-c", INIT, "init", *words)
        script.append(f"exec chroot {image.root} {shlex.join(start)}")
        unshare = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{name}", *unshare, "sh", "-c", "\n".join(script)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def _demoted(self, *words):
        """A command line, as the service's user and without a capability."""
        assert self.service["cap_drop"] == ["ALL"]
        assert self.service["security_opt"] == ["no-new-privileges:true"]
        drop = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
        who = ["--reuid", self.user, "--regid", self.group, "--clear-groups"]
        variables = {**self.image.variables, **self.service.get("environment", {})}
        told = ["env", "-i", "-C", self.image.place, *(f"{k}={v}" for k, v in variables.items())]
        return ["setpriv", *who, *drop, *told, *words]

    def _connect(self, address):
        """A network namespace at `address`, on the bridge of all."""
        outer = f"v{abs(hash(self.name)) % 10**8}"
        call("ip", "netns", "add", self.name)
        call("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        call("ip", "link", "set", outer, "master", "bridge", "up")
        for words in (["link", "set", "lo", "up"], ["addr", "add", f"{address}/24", "dev", "eth0"],
                      ["link", "set", "eth0", "up"]):  # fmt: skip
            call("ip", "-n", self.name, *words)

    def _joined(self):
        """The shell's lines that hold it to its limits, where control groups can be written to."""
        limits = self.service["deploy"]["resources"]["limits"]
        memory = str(int(limits["memory"][:-1]) * UNITS[limits["memory"][-1]])
        asked = {
            ("memory", "memory.limit_in_bytes"): memory,
            ("pids", "pids.max"): str(limits["pids"]),
        }
        lines = []
        for (kind, file), value in asked.items():
            group = GROUPS / kind / f"privet-{self.name}-{secrets.token_hex(4)}"
            try:
                group.mkdir()
                (group / file).write_text(value)
                lines.append(f"echo $$ > {group}/cgroup.procs")
                self.groups.append(group)
            except OSError:
                self.not_held.append(f"limit of {kind}")
        return lines

    @property
    def first(self):
        """The process id of its first process, once it is the service's."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        if not children.split():
            raise SystemExit(f"{self.name} ended: {self.log.read_text()[-2000:]}")
        return children.split()[0]

    def execute(self, *words, check=True, **options):
        """As `docker compose exec` does: a command in the running container."""
        enter = ["nsenter", "--target", self.first, "--all", "--root", "--wd"]
        joined = [*enter, *self._demoted(*words)]
        if check:
            return call(*joined, **options)
        return subprocess.run(joined, capture_output=True, text=True, **options)

    def seconds_to_health(self):
        """Ask its health check, as written, until it passes, for four times its start period."""
        check = self.service["healthcheck"]
        most_s = 4 * int(check["start_period"][:-1])  # a machine that does much else
        started = time.monotonic()
        while True:
            kind, *words = check["test"]
            assert kind == "CMD"
            done = self.execute(*words, check=False, timeout=10 * int(check["timeout"][:-1]))
            waited_s = time.monotonic() - started
            if done.returncode == 0:
                return round(waited_s, 1)
            if self.process.poll() is not None or waited_s > most_s:
                said = self.log.read_text(errors="replace")[-3000:]
                raise SystemExit(f"{self.name}: not healthy: {done.stderr[-500:]}\n{said}")
            time.sleep(1)

    def held_to(self):
        """What the kernel says of its processes, and what they cannot do."""
        status = Path(f"/proc/{self.first}/status").read_text()
        about = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        shm = self.execute("df", "--output=size", "--block-size=1", "/dev/shm").split()[-1]
        return {
            "user": about["Uid"].split()[0],
            "capabilities": max(int(about[f"Cap{x}"], 16) for x in ("Eff", "Prm", "Bnd", "Inh")),
            "no_new_privileges": about["NoNewPrivs"].strip() == "1",
            "root_is_read_only": bool(self.execute("touch", "/opt/x", check=False).returncode)
            and "Read-only" in self.execute("touch", "/opt/x", check=False).stderr,
            "shared_memory_bytes": int(shm),
        }

    def end(self):
        """End it as `docker compose stop` does; its exit status."""
        if self.process.poll() is None:
            subprocess.run(["kill", "-TERM", self.first])
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None
        finally:
            self._leave()

    def _leave(self):
        for group in self.groups:
            for _ in range(50):  # the kernel takes its time to see that it is empty
                try:
                    group.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)
