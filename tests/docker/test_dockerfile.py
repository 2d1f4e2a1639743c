"""The Dockerfile copies what exists, runs as nobody special, and has the named targets."""


def copied(dockerfile):
    """The sources that are copied from the repository."""
    own = (words[1:-1] for words in dockerfile if words[0] == "COPY" and "--from" not in words[1])
    return [source for sources in own for source in sources]


def stages(dockerfile):
    return {words[3]: words[1] for words in dockerfile if words[0] == "FROM"}


def test_copied_files_exist_and_reach_the_builder(dockerfile, root):
    sent = (root / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    sources = copied(dockerfile)
    assert [source for source in sources if not (root / source).exists()] == []
    assert [source for source in sources if f"!{source}" not in sent] == []


def test_every_package_is_copied(dockerfile):
    assert {"core", "api", "worker", "client", "migrations"} <= set(copied(dockerfile))


def test_targets_of_the_compose_files_exist(dockerfile, compose, cuda):
    services = [*compose["services"].values(), *cuda["services"].values()]
    targets = {service["build"]["target"] for service in services if "build" in service}
    assert targets == {"cpu", "cuda"}
    assert targets <= set(stages(dockerfile))
    assert stages(dockerfile)["cuda"] == "cpu"


def test_image_runs_as_an_unprivileged_user(dockerfile):
    users = [words[1] for words in dockerfile if words[0] == "USER"]
    assert users
    assert not {"root", "0"} & set(users)


def test_image_is_installed_from_the_lock(dockerfile):
    installs = [words for words in dockerfile if words[0] == "RUN" and "uv" in " ".join(words)]
    assert any("requirements.lock" in words for words in installs)
