"""An OpenStack for tests: keystone, placement, glance, neutron and nova with its fake driver, on 127.0.0.1 alone.

    python cloud.py VENV WORK CACHE

Everything it writes is below WORK, which it removes in the end. What is the same every time (databases, keys) is made
once and kept in CACHE. When the cloud can be used, it prints one line: `ready` and a JSON object. It ends, with all its
processes, when its standard input closes or it is signalled; also when it is killed with -9, because a second process
waits for that. A service that ends is started again, as a service manager would do.
"""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pymysql
import requests

import settings

SERVICES = ["keystone", "placement", "glance", "neutron", "nova", "nova-conductor", "nova-scheduler", "nova-compute"]


def reap(work, pipe):
    """Kills all groups of processes and removes the folder once the other end of the pipe is closed."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.read(pipe, 1)
    for _ in range(3):
        for path in (work / "pids").glob("*"):
            try:
                os.killpg(int(path.read_text() or 0) or os.getpgid(0) + 10**9, signal.SIGKILL)
            except (ProcessLookupError, ValueError, OSError):
                pass
        time.sleep(0.1)
    shutil.rmtree(work, ignore_errors=True)
    os._exit(0)


class Cloud:
    def __init__(self, venv, work):
        self.venv, self.work = venv, work
        (work / "pids").mkdir(parents=True)
        (work / "home").mkdir()
        self.began = time.monotonic()
        self.ports = free_ports([*settings.APIS, "rabbit", "dist", "epmd"])
        self.running, self.ending = {}, False
        settings.write(venv, work, self.ports)
        self.environment = settings.environment(work, self.ports)
        self.commands = settings.programs(venv, work, self.ports)

    def note(self, text):
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", file=sys.stderr, flush=True)

    def start(self, name):
        log = open(self.work / "logs" / f"{name}.log", "ab")
        process = subprocess.Popen(self.commands[name], env=self.environment, cwd=self.work, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, start_new_session=True)
        (self.work / "pids" / name).write_text(str(process.pid))
        self.running[name] = process

    def stop(self, name, grace=30):
        process = self.running.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        (self.work / "pids" / name).unlink()

    def tool(self, name, *arguments):
        """Runs a program of the virtual environment to its end."""
        with open(self.work / "logs" / f"{name}.log", "ab") as log:
            command = [str(self.venv / "bin/python"), str(self.venv / "bin" / name), *arguments]
            subprocess.run(command, env=self.environment, cwd=self.work, stdout=log, stderr=log, check=True)

    def sql(self, statement, values=(), database=None):
        connection = pymysql.connect(user="root", unix_socket=f"{self.work}/mysql.sock", database=database,
                                     autocommit=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def wait_for(self, what, test, seconds=120):
        end = time.monotonic() + seconds
        while True:
            try:
                found = test()
                if found:
                    return found
                error = "not yet"
            except (OSError, requests.RequestException, pymysql.Error) as caught:
                error = caught
            if time.monotonic() > end:
                raise SystemExit(f"no {what} after {seconds} s: {error}")
            time.sleep(0.1)

    def database_and_broker(self):
        for name in ["epmd", "mysql"]:
            self.start(name)
        self.wait_for("epmd", lambda: socket.create_connection(("127.0.0.1", self.ports["epmd"]), 1).close() or True)
        self.start("rabbit")
        self.wait_for("database", lambda: self.sql("select 1"))
        self.note("the database answers")

    def broker_answers(self):
        self.wait_for("broker", lambda: self.amqp())
        self.note("the broker answers")

    def amqp(self):
        with socket.create_connection(("127.0.0.1", self.ports["rabbit"]), 1) as connection:
            connection.settimeout(1)
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1)

    def services(self):
        for name in SERVICES:
            self.start(name)
        for name in settings.APIS:
            self.wait_for(name, lambda: self.call("GET", name, "/", token=None).status_code < 500)
            self.note(f"{name} answers")

    def place(self):
        """Enters this run's addresses into what was made in an earlier one."""
        for name, kind in settings.TYPES.items():
            self.sql("update endpoint join service on service.id = endpoint.service_id set endpoint.url = %s "
                     "where service.type = %s", (settings.url(name, self.ports), kind), "keystone")
        for cell, database in [("cell0", "nova_cell0"), ("cell1", "nova")]:
            broker = "none:///" if cell == "cell0" else settings.broker(self.ports)
            self.sql("update cell_mappings set transport_url = %s, database_connection = %s where name = %s",
                     (broker, settings.database(self.work, database), cell), "nova_api")
        self.sql("update agents set heartbeat_timestamp = utc_timestamp()", (), "neutron")

    # Calls of the APIs.

    def call(self, method, service, path, body=None, token="", **more):
        headers = {"OpenStack-API-Version": "compute 2.90"}
        if token is not None:
            headers["X-Auth-Token"] = token or self.token()
        return requests.request(method, settings.url(service, self.ports) + path, json=body, headers=headers, timeout=60,
                                **more)

    def token(self):
        answer = requests.post(settings.url("keystone", self.ports) + "/auth/tokens", timeout=60, json={"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": "admin", "domain": {"id": "default"}, "password": settings.ADMIN_PASSWORD}}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}})
        answer.raise_for_status()
        return answer.headers["X-Subject-Token"]

    def made(self, service, path, body):
        answer = self.call("POST", service, path, body, self.admin)
        if not answer.ok:
            raise SystemExit(f"POST {service} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    # What is made once.

    def make(self):
        subprocess.run(["/usr/bin/mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={self.work}/mysql",
                        "--auth-root-authentication-method=normal", "--skip-test-db"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.database_and_broker()
        for name in settings.DATABASES:
            self.sql(f"create database {name} character set utf8mb3")
        etc = self.work / "etc"
        keystone = ["--config-file", str(etc / "keystone/keystone.conf")]
        nova = ["--config-file", str(etc / "nova/nova.conf")]

        def identity():
            self.tool("keystone-manage", *keystone, "db_sync")
            for keys in ["fernet_setup", "credential_setup"]:
                self.tool("keystone-manage", *keystone, keys, "--keystone-user", "root", "--keystone-group", "root")
            self.tool("keystone-manage", *keystone, "bootstrap", "--bootstrap-password", settings.ADMIN_PASSWORD,
                      "--bootstrap-region-id", settings.REGION,
                      "--bootstrap-public-url", settings.url("keystone", self.ports),
                      "--bootstrap-internal-url", settings.url("keystone", self.ports))
            self.tool("glance-manage", "--config-file", str(etc / "glance/glance-api.conf"), "db_sync")
            self.tool("placement-manage", "--config-file", str(etc / "placement/placement.conf"), "db", "sync")
            self.tool("neutron-db-manage", "--config-file", str(etc / "neutron/neutron.conf"), "upgrade", "head")

        def compute():
            self.tool("nova-manage", *nova, "api_db", "sync")
            self.tool("nova-manage", *nova, "cell_v2", "map_cell0", "--database_connection",
                      settings.database(self.work, "nova_cell0"))
            self.tool("nova-manage", *nova, "db", "sync")
            self.tool("nova-manage", *nova, "cell_v2", "create_cell", "--name", "cell1")

        in_parallel(identity, compute)
        self.note("the databases are made")
        self.broker_answers()
        self.start("keystone")
        self.wait_for("keystone", lambda: self.call("GET", "keystone", "/", token=None).ok)
        self.admin = self.token()
        self.users()
        self.agent()
        self.services_but_keystone()
        known = self.surroundings()
        self.note("everything is made")
        return known

    def services_but_keystone(self):
        # nova-compute is left out: the fake driver gives its node another id at each start, and nova takes one only.
        for name in SERVICES[1:-1]:
            self.start(name)
        for name in list(settings.APIS)[1:]:
            self.wait_for(name, lambda: self.call("GET", name, "/", token=None).status_code < 500)
            self.note(f"{name} answers")

    def users(self):
        projects = self.call("GET", "keystone", "/projects", token=self.admin).json()["projects"]
        roles = self.call("GET", "keystone", "/roles", token=self.admin).json()["roles"]
        # Users may end their servers' ports only through nova, which neutron knows by the role `service`.
        granted = [role["id"] for role in roles if role["name"] in ("admin", "service")]
        service = self.made("keystone", "/projects", {"project": {"name": "service", "domain_id": "default"}})
        for name, kind in list(settings.TYPES.items())[1:]:
            user = self.made("keystone", "/users", {"user": {
                "name": name, "domain_id": "default", "password": settings.PASSWORD}})["user"]["id"]
            for role in granted:
                where = f"/projects/{service['project']['id']}/users/{user}/roles/{role}"
                self.call("PUT", "keystone", where, token=self.admin).raise_for_status()
            entry = self.made("keystone", "/services", {"service": {"name": name, "type": kind}})["service"]["id"]
            for interface in ["public", "internal"]:
                self.made("keystone", "/endpoints", {"endpoint": {
                    "service_id": entry, "interface": interface, "region_id": settings.REGION,
                    "url": settings.url(name, self.ports)}})
        assert projects

    def agent(self):
        """neutron binds ports only where an agent lives. This host has none, so its row is written."""
        configurations = {"bridge_mappings": {}, "tunnel_types": [], "datapath_type": "system", "extensions": []}
        self.sql("insert into agents (id, agent_type, `binary`, topic, host, admin_state_up, created_at, started_at, "
                 "heartbeat_timestamp, configurations, `load`) values (%s, 'Open vSwitch agent', "
                 "'neutron-openvswitch-agent', 'N/A', %s, 1, utc_timestamp(), utc_timestamp(), utc_timestamp(), %s, 0)",
                 ("a0000000-0000-4000-8000-000000000001", settings.HOST, json.dumps(configurations)), "neutron")

    def surroundings(self):
        """Flavors, an image and a network that every project may use."""
        for name, ram, cpus in [("small", 64, 1), ("large", 128, 2), ("huge", 9_000_000, 64)]:
            self.made("nova", "/flavors", {"flavor": {"name": name, "ram": ram, "vcpus": cpus, "disk": 0}})
        images = {}
        for name in ["ci-1", "ci-2"]:
            image = self.made("glance", "/v2/images", {
                "name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public",
                "os_distro": "debian"})
            requests.put(f"{settings.url('glance', self.ports)}/v2/images/{image['id']}/file", data=name.encode(),
                         headers={"X-Auth-Token": self.admin, "Content-Type": "application/octet-stream"},
                         timeout=60).raise_for_status()
            images[name] = image["id"]
        network = self.made("neutron", "/v2.0/networks", {"network": {"name": "machines", "shared": True}})["network"]
        self.made("neutron", "/v2.0/subnets", {"subnet": {
            "network_id": network["id"], "ip_version": 4, "cidr": "10.77.0.0/16", "enable_dhcp": False}})
        return {"images": images, "network": network["id"]}


def in_parallel(*jobs):
    failures = []

    def run(job):
        try:
            job()
        except BaseException as error:  # Raised again below.
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def free_ports(names):
    """Ports that were free a moment ago."""
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
    ports = {name: held.getsockname()[1] for name, held in sockets.items()}
    for held in sockets.values():
        held.close()
    return ports


def keep(cloud, known, cache):
    """Stops everything in order and keeps what the next run needs."""
    for name in [*reversed(SERVICES), "rabbit", "epmd"]:
        cloud.stop(name)
    cloud.sql("set global innodb_fast_shutdown = 0")
    cloud.stop("mysql")
    (cloud.work / "state" / "known.json").write_text(json.dumps(known))
    made = cache.with_name(f"{cache.name}.{os.getpid()}")
    made.mkdir(parents=True)
    for name in ["mysql", "state"]:
        shutil.copytree(cloud.work / name, made / name)
    try:
        made.rename(cache)
    except OSError:
        shutil.rmtree(made)
    cloud.note("kept for the next time")


def main():
    venv, work, cache = (Path(argument).resolve() for argument in sys.argv[1:4])
    work.mkdir(parents=True, mode=0o700, exist_ok=True)
    (reading, writing) = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        reap(work, reading)
    os.set_inheritable(writing, False)
    os.close(reading)

    def end(*_):
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    threading.Thread(target=lambda: end(os.read(0, 1)), daemon=True).start()

    if not cache.is_dir():
        first = Cloud(venv, work / "first")
        os.symlink(work / "first" / "pids", work / "pids")
        try:
            keep(first, first.make(), cache)
        except BaseException:
            for log in sorted((work / "first" / "logs").glob("*.log")):
                errors = [line for line in log.read_text(errors="replace").splitlines() if "rror" in line]
                print(f"{log.name}:", *errors[-5:], sep="\n    ", file=sys.stderr)
            raise
    run(venv, work, cache)


def run(venv, work, cache):
    cloud = Cloud(venv, work / "run")
    # At no moment without a list: whoever ends the processes reads it.
    os.symlink(work / "run" / "pids", work / "pids.next")
    os.replace(work / "pids.next", work / "pids")
    subprocess.run(["cp", "-a", "--reflink=auto", f"{cache}/mysql", str(cloud.work)], check=True)
    subprocess.run(["cp", "-a", f"{cache}/state", str(cloud.work)], check=True)
    known = json.loads((cloud.work / "state" / "known.json").read_text())
    cloud.database_and_broker()
    cloud.place()
    cloud.services()
    cloud.broker_answers()
    cloud.admin = cloud.token()

    def up():
        answer = cloud.call("GET", "nova", "/os-services", token=cloud.admin)
        found = {entry["binary"] for entry in answer.json()["services"] if entry["state"] == "up"}
        return {"nova-conductor", "nova-scheduler", "nova-compute"} <= found

    cloud.wait_for("nova", up)
    cloud.wait_for("compute host", lambda: cloud.sql("select 1 from compute_nodes", (), "nova"))
    cloud.sql("insert into host_mappings (created_at, cell_id, host) select utc_timestamp(), id, %s from cell_mappings "
              "where name = 'cell1'", (settings.HOST,), "nova_api")
    cloud.note("everything is up")
    told = {
        "authUrl": settings.url("keystone", cloud.ports), "compute": settings.url("nova", cloud.ports),
        "region": settings.REGION, "adminPassword": settings.ADMIN_PASSWORD, "pids": str(cloud.work / "pids"),
        "logs": str(cloud.work / "logs"), **known,
    }
    print("ready " + json.dumps(told), flush=True)
    while True:
        time.sleep(0.2)
        for name, process in list(cloud.running.items()):
            # Another nova-compute could not start (see `services_but_keystone`).
            if process.poll() is not None and name != "nova-compute":
                cloud.note(f"{name} ended ({process.returncode}) and is started again")
                time.sleep(1)
                cloud.start(name)


if __name__ == "__main__":
    main()
