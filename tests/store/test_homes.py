"""A folder and a database belong together."""

import pytest
from npas_local import embedded
from npas_store import homes, migrate
from npas_store.database import UNREACHABLE, engine, reading, transaction
from npas_store.tables import Home
from sqlalchemy import delete, event, select, text


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


@pytest.mark.usefixtures("strangers")
def test_folder_is_not_lost_where_the_commit_is():
    def cut(connection):
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    event.listen(engine(), "commit", cut)
    try:
        with pytest.raises(UNREACHABLE):
            homes.settle()
    finally:
        event.remove(engine(), "commit", cut)
    with reading() as session:
        assert session.scalars(select(Home)).one_or_none() is None
    homes.settle()
    require()


@pytest.mark.usefixtures("strangers")
def test_folder_gets_its_name_where_the_process_ended_after_the_commit():
    homes.settle()
    homes.marker().rename(homes.marker().with_suffix(".new"))
    homes.settle()
    require()


@pytest.mark.usefixtures("strangers")
def test_marker_from_before_clusters_were_noted_is_completed():
    homes.settle()
    whole = homes.marker().read_text()
    homes.marker().write_text(whole.splitlines()[0] + "\n")
    require()
    homes.settle()
    assert homes.marker().read_text() == whole


def test_restored_backup_of_a_database_is_refused_on_its_folder(strangers, in_environment):
    homes.settle()
    with reading() as session:
        row = session.scalars(select(Home)).one()
    with (
        embedded.running(strangers / "other", redis=False) as servers,
        in_environment(NPAS_DATABASE_URL=servers.database_url),
    ):
        migrate.upgrade()
        with transaction() as session:  # as a dump would restore it
            session.add(Home(id=row.id, place=row.place))
        with pytest.raises(homes.HomeError, match="a copy of"):
            homes.settle()
        homes.marker().write_text(f"{row.id}\n")  # as the message says
        homes.settle()
        require()
    with pytest.raises(homes.HomeError, match="a copy of"):
        require()


@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize("thing", ["folder", "bytes"])
def test_marker_that_cannot_be_read_is_told(thing):
    homes.settle()
    homes.marker().unlink()
    if thing == "folder":
        homes.marker().mkdir()
    else:
        homes.marker().write_bytes(b"\xff\xfe")
    with pytest.raises(homes.HomeError, match=r"id cannot be read \(.*make it readable"):
        require()


@pytest.mark.usefixtures("strangers")
def test_database_that_does_not_tell_its_cluster_is_told_by_its_number():
    revoke = "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"
    with transaction() as session:
        session.execute(text(revoke))
        session.execute(text("SET LOCAL ROLE pg_read_all_data"))
        told = homes._cluster(session)
        session.rollback()
    unknown, number = told.split("/")
    assert unknown == "unknown"
    assert number.isdigit()
