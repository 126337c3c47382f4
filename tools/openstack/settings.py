"""The settings of the services of the test cloud: files that they read, and the programs to start."""

from pathlib import Path

PASSWORD = "service-password"
ADMIN_PASSWORD = "admin-password"
REGION = "RegionOne"
HOST = "bullpen-test"
# Names of databases, in the order in which they are made.
DATABASES = ["keystone", "glance", "placement", "nova_api", "nova_cell0", "nova", "neutron"]
# Those with an HTTP API: the module with the WSGI application, and the variables that name the settings.
APIS = {
    "keystone": "keystone.wsgi.api",
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
    "neutron": "neutron.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
}
TYPES = {"keystone": "identity", "placement": "placement", "glance": "image", "neutron": "network", "nova": "compute"}


def url(service, ports):
    path = {"keystone": "/v3", "nova": "/v2.1"}.get(service, "")
    return f"http://127.0.0.1:{ports[service]}{path}"


def database(work, name):
    return f"mysql+pymysql://root@localhost/{name}?unix_socket={work}/mysql.sock"


def broker(ports):
    return f"rabbit://guest:guest@127.0.0.1:{ports['rabbit']}//"


def _client(ports, user, more=""):
    """The section of a service that calls others as this user."""
    return f"""
auth_url = {url("keystone", ports)}
auth_type = password
username = {user}
password = {PASSWORD}
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = {REGION}
{more}"""


def write(venv, work, ports):
    """Writes all files of settings below `work`/etc."""
    etc = work / "etc"
    token = _client(ports, "{}", f"www_authenticate_uri = {url('keystone', ports)}\ntoken_cache_time = 2\nservice_token_roles = service\nservice_token_roles_required = true\n")
    common = f"debug = false\ntransport_url = {broker(ports)}\nstate_path = {work}/state\nuse_stderr = true\n"
    locks = f"[oslo_concurrency]\nlock_path = {work}/locks\n"
    pool = "max_pool_size = 10\nmax_overflow = 20\n"
    files = {
        "keystone/keystone.conf": f"""[DEFAULT]
use_stderr = true
[database]
connection = {database(work, "keystone")}
{pool}
[token]
provider = fernet
expiration = 3600
[fernet_tokens]
key_repository = {work}/state/fernet
[credential]
key_repository = {work}/state/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
""",
        "placement/placement.conf": f"""[DEFAULT]
use_stderr = true
[placement_database]
connection = {database(work, "placement")}
{pool}
[api]
auth_strategy = keystone
[keystone_authtoken]
{token.format("placement")}
""",
        "glance/glance-api.conf": f"""[DEFAULT]
use_stderr = true
enabled_backends = files:file
[database]
connection = {database(work, "glance")}
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = {work}/state/images
[os_glance_staging_store]
filesystem_store_datadir = {work}/state/staging
[os_glance_tasks_store]
filesystem_store_datadir = {work}/state/tasks
[paste_deploy]
flavor = keystone
config_file = {venv}/etc/glance/glance-api-paste.ini
[keystone_authtoken]
{token.format("glance")}
""",
        "neutron/neutron.conf": f"""[DEFAULT]
{common}
core_plugin = ml2
service_plugins =
auth_strategy = keystone
api_paste_config = {venv}/etc/neutron/api-paste.ini
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
agent_down_time = 86400
[database]
connection = {database(work, "neutron")}
{pool}
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers = openvswitch
[quotas]
quota_port = -1
[keystone_authtoken]
{token.format("neutron")}
[nova]
{_client(ports, "nova")}
{locks}
""",
        "nova/nova.conf": f"""[DEFAULT]
{common}
compute_driver = fake.FakeDriver
host = {HOST}
my_ip = 127.0.0.1
vif_plugging_timeout = 0
vif_plugging_is_fatal = false
update_resources_interval = 600
[api_database]
connection = {database(work, "nova_api")}
{pool}
[database]
connection = {database(work, "nova")}
{pool}
[scheduler]
workers = 1
[conductor]
workers = 1
[vnc]
enabled = false
[glance]
{_client(ports, "glance")}
[neutron]
{_client(ports, "neutron")}
[placement]
{_client(ports, "placement")}
[service_user]
send_service_user_token = true
{_client(ports, "nova")}
[keystone_authtoken]
{token.format("nova")}
{locks}
""",
        "nova/api-paste.ini": Path(f"{venv}/etc/nova/api-paste.ini").read_text(),
        "rabbitmq.conf": f"""listeners.tcp.1 = 127.0.0.1:{ports["rabbit"]}
loopback_users.guest = true
log.console = true
""",
        "enabled_plugins": "[].\n",
    }
    for name, text in files.items():
        path = etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ["state/fernet", "state/credential", "state/images", "state/staging", "state/tasks", "locks", "logs"]:
        (work / name).mkdir(parents=True, exist_ok=True, mode=0o700)


def environment(work, ports):
    """What every service has in its environment."""
    etc = work / "etc"
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(work / "home"),
        "LANG": "C.UTF-8",
        "TMPDIR": str(work),
        "NO_PROXY": "127.0.0.1",
        "OS_KEYSTONE_CONFIG_FILES": str(etc / "keystone/keystone.conf"),
        "OS_PLACEMENT_CONFIG_DIR": str(etc / "placement"),
        "OS_GLANCE_CONFIG_DIR": str(etc / "glance"),
        "OS_NEUTRON_CONFIG_DIR": str(etc / "neutron"),
        "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
        "OS_NOVA_CONFIG_DIR": str(etc / "nova"),
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"bullpen{ports['rabbit']}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(ports["rabbit"]),
        "RABBITMQ_DIST_PORT": str(ports["dist"]),
        "RABBITMQ_CONFIG_FILE": str(etc / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(etc / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(work / "mnesia"),
        "RABBITMQ_LOG_BASE": str(work / "logs"),
        "RABBITMQ_PID_FILE": str(work / "rabbit.pid"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
    }


def programs(venv, work, ports):
    """Every service's command line."""
    python = str(venv / "bin/python")
    nova = ["--config-file", str(work / "etc/nova/nova.conf")]
    commands = {
        "mysql": ["/usr/sbin/mariadbd", "--no-defaults", "--user=root", f"--datadir={work}/mysql",
                  f"--socket={work}/mysql.sock", f"--pid-file={work}/mysql.pid", "--skip-networking",
                  "--skip-grant-tables", "--max-connections=1000", "--innodb-flush-log-at-trx-commit=0",
                  "--innodb-doublewrite=0", "--innodb-flush-method=nosync", "--innodb-log-file-size=24M",
                  "--innodb-buffer-pool-size=256M", "--character-set-server=utf8mb3", f"--tmpdir={work}"],
        "epmd": ["/usr/bin/epmd", "-port", str(ports["epmd"]), "-address", "127.0.0.1"],
        "rabbit": ["/usr/lib/rabbitmq/bin/rabbitmq-server"],
    }
    for name, module in APIS.items():
        commands[name] = [str(venv / "bin/uwsgi"), "--virtualenv", str(venv), "--module", f"{module}:application",
                          "--http-socket", f"127.0.0.1:{ports[name]}", "--lazy-apps", "--enable-threads",
                          "--threads", "6", "--buffer-size", "65535", "--add-header", "Connection: close",
                          "--disable-logging", "--need-app", "--listen", "100"]
    for part in ["conductor", "scheduler", "compute"]:
        commands[f"nova-{part}"] = [python, str(venv / f"bin/nova-{part}"), *nova]
    return commands
