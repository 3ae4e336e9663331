"""What has run before does not run again: DVC's run cache, by itself and through remotes of every kind."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipeline.conftest import Repository, make_repository

pytestmark = pytest.mark.timeout(1800)

LAST = "generate@baseline_warmstart-42"  # behind assets, prepare, split and the training of one arm


def ran(repository: Repository, learning_rate: float, *options: str) -> set[str]:
    """The stages that run when the arm has this learning rate; the others were done before."""
    repository.set(arms__baseline_warmstart__learning_rate=learning_rate)
    said = repository.dvc("repro", *options, LAST).stdout
    return {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Repository:
    """A repository in which one arm was trained with 0.02, then 0.03; the dvc.lock in git has seen neither."""
    repository = make_repository(tmp_path_factory.mktemp("trained") / "repository")
    repository.dvc("repro", "assets", "split")
    repository.commit("the data")
    for learning_rate in (0.02, 0.03):
        assert ran(repository, learning_rate) == {"sft@baseline_warmstart-42", LAST}
    return repository


def test_a_value_another_and_the_first_again_trains_twice(trained):
    second = trained.outputs()
    assert ran(trained, 0.02) == set()
    assert trained.outputs() != second
    assert ran(trained, 0.03) == set()
    assert trained.outputs() == second


# --- remotes ----------------------------------------------------------------------------------------------------------


@contextmanager
def folder(path: Path) -> Iterator[dict[str, str]]:
    yield {"url": str(path / "store")}


@contextmanager
def serving(code: str, path: Path) -> Iterator[str]:
    """A server in a process of its own, which prints its port once it listens."""
    with subprocess.Popen([sys.executable, "-c", code], cwd=path, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


S3 = """
import time, boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys).create_bucket(Bucket="bucket")
print(port, flush=True)
time.sleep(3600)
"""

SSH = """
import asyncio, asyncssh
key = asyncssh.generate_private_key("ssh-ed25519")
key.write_private_key("key")
key.write_public_key("key.pub")

async def serve():
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], authorized_client_keys="key.pub", sftp_factory=True
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()

asyncio.run(serve())
"""


@contextmanager
def s3(path: Path) -> Iterator[dict[str, str]]:
    with serving(S3, path) as port:
        keys = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
        yield {"url": "s3://bucket/store", "endpointurl": f"http://127.0.0.1:{port}", **keys}


@contextmanager
def ssh(path: Path) -> Iterator[dict[str, str]]:
    with serving(SSH, path) as port:
        yield {"url": f"ssh://user@127.0.0.1:{port}{path}/store", "keyfile": str(path / "key")}


@pytest.mark.parametrize("kind", [folder, s3, ssh])
def test_a_fresh_clone_pulls_what_another_pushed_and_trains_nothing(trained, tmp_path, kind):
    source, clone = trained.copy(tmp_path / "source"), Repository(tmp_path / "clone")
    with kind(tmp_path) as options:
        source.dvc("remote", "add", "-d", "store", options.pop("url"))
        for name, value in options.items():
            source.dvc("remote", "modify", "store", name, value)
        source.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "store", ".dvc/config")
        for learning_rate in (0.02, 0.03):
            assert ran(source, learning_rate) == set()
            source.dvc("push", "--run-cache", "--with-deps", LAST)
        source.run("git", "clone", "-q", ".", str(clone.path))
        clone.dvc("pull", "--run-cache", "--with-deps", "assets", "split")
        for learning_rate in (0.02, 0.03):
            assert ran(clone, learning_rate, "--pull") == set()
        assert clone.outputs() == trained.outputs()
        assert clone.dvc("status", "--json", "--with-deps", LAST).stdout.strip() == "{}"
