"""The compose file names real programs and settings, and sets its servers up as needed."""

import re
import shlex
from importlib.util import find_spec
from pathlib import PurePosixPath

from npas_store.settings import Settings


def modules(compose):
    """Service -> the Python module that it runs."""
    commands = {name: service.get("command", []) for name, service in compose["services"].items()}
    return {name: c[2] for name, c in commands.items() if c[:2] == ["python", "-m"]}


def can_run(module):
    """Whether `python -m module` would find a program."""
    spec = find_spec(module)
    is_package = spec is not None and spec.submodule_search_locations is not None
    return find_spec(f"{module}.__main__") is not None if is_package else spec is not None


def test_compose_has_all_parts(compose):
    parts = {"postgres", "redis", "migrate", "api", "worker"}
    assert set(compose["services"]) == parts


def test_commands_are_programs_of_ours(compose):
    found = modules(compose)
    assert set(found) == {"migrate", "api", "worker"}
    assert [module for module in found.values() if not can_run(module)] == []


def test_settings_are_known(compose):
    known = {f"NPAS_{name.upper()}" for name in Settings.model_fields}
    for service in compose["services"].values():
        used = {name for name in service.get("environment", {}) if name.startswith("NPAS_")}
        assert used <= known
    for name in modules(compose):
        used = compose["services"][name]["environment"]
        assert {"NPAS_DATABASE_URL", "NPAS_REDIS_URL", "NPAS_HOME"} <= set(used)


def test_parts_share_one_volume_with_the_datasets_in_it(compose):
    for name in modules(compose):
        service = compose["services"][name]
        home = service["environment"]["NPAS_HOME"]
        assert f"data:{home}" in service["volumes"]
        assert (
            PurePosixPath(home)
            in PurePosixPath(service["environment"]["NPAS_DATA_FOLDER"]).parents
        )


def test_nothing_is_published_beyond_the_machine(compose):
    ports = [port for s in compose["services"].values() for port in s.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_migration_runs_once_before_api_and_worker(compose):
    assert compose["services"]["migrate"]["restart"] == "no"
    for name in ("api", "worker"):
        after = compose["services"][name]["depends_on"]["migrate"]
        assert after == {"condition": "service_completed_successfully"}


def test_worker_has_more_time_to_stop_than_a_training_takes(compose):
    grace = re.fullmatch(r"(\d+)s", compose["services"]["worker"]["stop_grace_period"])
    assert int(grace[1]) >= Settings.model_fields["grace_seconds"].default + 30


def test_redis_writes_its_log_each_second_and_never_evicts(compose):
    command = shlex.join(compose["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync everysec" in command
    assert "--maxmemory-policy noeviction" in command


def test_cuda_changes_the_worker_alone(cuda):
    assert set(cuda["services"]) == {"worker"}
    devices = cuda["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]
