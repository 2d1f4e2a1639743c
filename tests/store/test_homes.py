"""A folder and a database belong together."""

import pytest
from npas_store import embedded, homes, migrate
from npas_store.database import reading, transaction
from npas_store.tables import Home
from sqlalchemy import delete


@pytest.fixture
def strangers(services, tmp_path, in_environment):
    """A database that has no folder yet, and a folder that has none."""
    assert services.is_dir()
    with transaction() as session:
        before = session.query(Home).one_or_none()
        session.execute(delete(Home))
    with in_environment(NPAS_HOME=str(tmp_path / "one")):
        yield tmp_path
    with transaction() as session:
        session.execute(delete(Home))
        if before is not None:
            session.merge(before)


def require():
    with reading() as session:
        homes.check(session)


@pytest.mark.usefixtures("strangers")
def test_new_folder_and_new_database_are_joined_once():
    homes.settle()
    first = homes.marker().read_text()
    homes.settle()
    require()
    assert homes.marker().read_text() == first


def test_another_folder_is_refused(strangers, in_environment):
    homes.settle()
    known = homes.marker().read_text().strip()
    with in_environment(NPAS_HOME=str(strangers / "two")):
        with pytest.raises(homes.HomeError, match="another folder") as refused:
            homes.settle()
        assert str(strangers / "one") in str(refused.value)
        assert not homes.marker().exists()
        homes.marker().parent.mkdir()
        homes.marker().write_text(known)  # as the message says
        require()


@pytest.mark.usefixtures("strangers")
def test_folder_whose_disk_is_not_mounted_is_refused():
    homes.settle()
    homes.marker().unlink()
    with pytest.raises(homes.HomeError, match="set NPAS_HOME to it"):
        require()


def test_folder_of_another_database_is_refused(strangers, in_environment):
    homes.settle()
    with (
        embedded.running(strangers / "other", redis=False) as servers,
        in_environment(NPAS_DATABASE_URL=servers.database_url),
    ):
        migrate.upgrade()
        with pytest.raises(homes.HomeError, match="belongs to another database"):
            homes.settle()
