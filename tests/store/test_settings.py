"""Settings are read from the environment, and a wrong one is named without what it holds."""

import pytest
from npas_store import machine
from npas_store.settings import SettingError, settings


@pytest.fixture
def read(monkeypatch):
    """Read the settings with some variables set."""

    def read(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        return settings()

    yield read
    monkeypatch.undo()
    settings.cache_clear()


def test_settings_names_all_that_is_wrong(read):
    with pytest.raises(SettingError, match=r"NPAS_PORT: .*integer.*; NPAS_LEASE_SECONDS: .*0"):
        read(NPAS_PORT="eighty", NPAS_LEASE_SECONDS="-1")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("NPAS_PORT", "70000", "0 to 65535"),
        ("NPAS_DEVICE", "gpu", "auto, cpu, cuda, cuda:1"),
        ("NPAS_DEVICE", "cuda:first", "auto, cpu, cuda, cuda:1"),
    ],
)
def test_settings_say_what_was_given_and_what_is_allowed(read, name, value, allowed):
    with pytest.raises(SettingError) as caught:
        read(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}: {value!r}: ")
    assert allowed in message


def test_settings_do_not_complain_of_a_default_that_follows_from_what_is_wrong(read, monkeypatch):
    monkeypatch.delenv("NPAS_THREADS", raising=False)
    with pytest.raises(SettingError) as caught:
        read(NPAS_PORT="eighty")
    assert "NPAS_THREADS" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NPAS_DATABASE_URL", "mysql://me:secret@host/x"),
        ("NPAS_REDIS_URL", "host:6379?password=secret"),
    ],
)
def test_settings_refuses_other_servers_and_keeps_the_password(read, name, value):
    with pytest.raises(SettingError, match=f"^{name}: ") as caught:
        read(**{name: value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "postgres:///x", "postgresql://u:p@h:1/x", "postgresql+psycopg://h/x"]
)
def test_settings_takes_every_spelling_of_postgres(read, url):
    assert read(NPAS_DATABASE_URL=url).database_url == url


@pytest.mark.parametrize("url", ["", "redis://h:6379/0", "rediss://u:p@h/0", "unix:///run/redis"])
def test_settings_takes_every_spelling_of_redis(read, url):
    assert read(NPAS_REDIS_URL=url).redis_url == url


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_settings_refuses_times_without_end(read, value):
    with pytest.raises(SettingError, match="NPAS_LEASE_SECONDS"):
        read(NPAS_LEASE_SECONDS=value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.7", "npas.example"])
def test_settings_open_the_api_to_a_network_only_where_that_is_said(read, host):
    with pytest.raises(SettingError, match=r"^NPAS_HOST: .*no authentication.*NPAS_ALLOW_UNAUTH"):
        read(NPAS_HOST=host)
    assert read(NPAS_HOST=host, NPAS_ALLOW_UNAUTHENTICATED="true").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_settings_listen_on_the_machine_itself_without_a_word(read, host):
    assert read(NPAS_HOST=host).host == host


def test_settings_split_allowed_hosts_at_commas(read):
    assert read(NPAS_ALLOWED_HOSTS="a.example, B.example ,").allowed_hosts == (
        "a.example",
        "b.example",
    )


def test_settings_shares_the_cores_between_the_workers_of_a_machine(read, monkeypatch):
    monkeypatch.delenv("NPAS_THREADS", raising=False)
    assert read().threads == machine.num_cores()
    assert read(NPAS_SLOTS="2").threads == max(1, machine.num_cores() // 2)
    assert read(NPAS_SLOTS="1000").threads == 1
    assert read(NPAS_THREADS="7").threads == 7
