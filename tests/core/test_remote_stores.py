"""Artefacts on servers: a local S3 and a plain HTTP server, which also fail on the way."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from kills import read_tree
from test_mirrors import extract_to

import sci_interp as si
from sci_interp import mirrors
from sci_interp.errors import SciInterpError, StoreError

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
CHUNK = "activations.zarr/activation/c/1/0"
#: Libraries of the servers and of their clients warn of what is not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Mirrors lie in a folder of the test."""
    monkeypatch.setenv(mirrors.CACHE_VARIABLE, str(tmp_path / "cache"))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; what a test sets on the server is done to each path that holds it."""

    def log_message(self, *_):
        return

    def do_GET(self):
        for part, action in self.server.actions.items():
            if part in self.path:
                action(self)
                return
        super().do_GET()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        return


@contextlib.contextmanager
def serving(folder):
    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server.actions = {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web(tmp_path):
    """Return a server of the folder ``site``, its address, and the store in ``site/a``."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    store = extract_to(tmp_path / "site" / "a")
    with serving(tmp_path / "site") as (server, address):
        yield server, f"{address}/a", store


def read_all(address):
    far = si.ActivationStore.open(address)
    return far.digest, far.read(0, far.axis.n_tokens)


def stop_half_way(request):
    """Promise the whole file, send half of it, and hang up."""
    data = Path(request.translate_path(request.path)).read_bytes()
    request.send_response(200)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data[: len(data) // 2])
    request.wfile.flush()
    request.close_connection = True


def truncate(request):
    """Send half of the file as if it were the whole."""
    data = Path(request.translate_path(request.path)).read_bytes()
    request.send_response(200)
    request.send_header("Content-Length", str(len(data) // 2))
    request.end_headers()
    request.wfile.write(data[: len(data) // 2])


def forbid(request):
    request.send_error(403)


def break_down(request):
    request.send_error(503)


def test_a_run_is_read_from_a_web_server(web, tmp_path):
    _, address, store = web
    digest, values = read_all(address)
    assert digest == store.digest
    np.testing.assert_array_equal(values, store.read(0, store.axis.n_tokens))
    (mirror,) = (tmp_path / "cache").iterdir()
    held = read_tree(tmp_path / "site" / "a")
    fetched = {name: data for name, data in read_tree(mirror).items() if name in held}
    assert all(held[name] == data for name, data in fetched.items()) and CHUNK in fetched


@pytest.mark.parametrize(
    ("part", "action", "message"),
    [
        (CHUNK, stop_half_way, "cannot be reached"),
        (CHUNK, truncate, "is damaged"),
        (CHUNK, forbid, "cannot be reached: .*403"),
        (CHUNK, break_down, "cannot be reached: .*503"),
        ("manifest.json", stop_half_way, "cannot be reached"),
        ("manifest.json", truncate, "cannot be read|not a manifest"),
        ("request.json", forbid, "cannot be reached: .*403"),
    ],
)
def test_a_web_server_that_fails_is_told_of_with_the_address(web, part, action, message):
    server, address, store = web
    server.actions[part] = action
    with pytest.raises(StoreError, match=message) as found:
        read_all(address)
    assert re.search(rf"{re.escape(address)}\S*/{re.escape(part)}", str(found.value))
    server.actions.clear()
    assert read_all(address)[0] == store.digest


def test_a_web_server_that_is_gone_and_what_is_not_there(web):
    _, address, _ = web
    with pytest.raises(StoreError, match=rf"no file {re.escape(address)}x/request\.json"):
        read_all(f"{address}x")
    with contextlib.ExitStack() as ended, serving(".") as (_, other):
        ended.close()
    with pytest.raises(StoreError, match=rf"{re.escape(other)}/a/request\.json cannot be reached"):
        read_all(f"{other}/a")


def test_a_web_server_takes_no_artefact(web, tmp_path):
    _, address, _ = web
    with pytest.raises(SciInterpError, match=re.escape(address.rpartition("/")[0])) as found:
        si.publish(tmp_path / "site" / "a", f"{address}/again")
    assert "again/request.json cannot be written: 501" in str(found.value)


@pytest.fixture(scope="module")
def endpoint():
    """Return the address of a local S3."""
    pytest.importorskip("s3fs", reason="s3fs is not installed (extra remote-tests)")
    pytest.importorskip("flask_cors", reason="flask-cors is not installed (extra remote-tests)")
    server = pytest.importorskip("moto.server", reason="moto is not installed (extra remote-tests)")
    s3 = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3.start()
    host, port = s3.get_host_and_port()
    yield f"http://{host}:{port}"
    s3.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch):
    """Return a client of a bucket ``bucket`` that is empty."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.filesystem("s3").clear_instance_cache()
    client = fsspec.filesystem("s3")
    if client.exists("bucket"):
        client.rm("bucket", recursive=True)
    client.mkdir("bucket")
    client.invalidate_cache()
    return client


def test_a_run_is_published_to_s3_and_read_there(bucket, endpoint, tmp_path):
    store = extract_to(tmp_path / "a")
    si.publish(tmp_path / "a", "s3://bucket/run/a")
    si.publish(tmp_path / "a", "s3://bucket/run/a")
    held = {
        name.removeprefix("bucket/run/a/"): bucket.cat_file(name)
        for name in bucket.find("bucket/run/a")
    }
    assert held == read_tree(tmp_path / "a")
    digest, values = read_all("s3://bucket/run/a")
    assert digest == store.digest
    np.testing.assert_array_equal(values, store.read(0, store.axis.n_tokens))
    extract_to(tmp_path / "b", seed=1)
    with pytest.raises(StoreError, match="s3://bucket/run/a holds other work"):
        si.publish(tmp_path / "b", "s3://bucket/run/a")
    with pytest.raises(StoreError, match=rf"{re.escape(endpoint)}/bucket/run/a/.*reached: 403"):
        read_all(f"{endpoint}/bucket/run/a")
    for name in held:
        bucket.chmod(f"bucket/run/a/{name}", "public-read")
    assert read_all(f"{endpoint}/bucket/run/a")[0] == store.digest


def test_s3_without_bucket_object_or_whole_object(bucket, tmp_path):
    extract_to(tmp_path / "a")
    with pytest.raises(
        StoreError, match=r"s3://nowhere/a/request\.json cannot be written: .*bucket"
    ):
        si.publish(tmp_path / "a", "s3://nowhere/a")
    assert not bucket.exists("nowhere")
    with pytest.raises(StoreError, match=r"no file s3://nowhere/a/request\.json"):
        read_all("s3://nowhere/a")
    with pytest.raises(StoreError, match=r"no file s3://bucket/b/request\.json"):
        read_all("s3://bucket/b")
    si.publish(tmp_path / "a", "s3://bucket/a")
    whole = bucket.cat_file(f"bucket/a/{CHUNK}")
    bucket.pipe_file(f"bucket/a/{CHUNK}", whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=rf"s3://bucket/a/{CHUNK} is damaged"):
        read_all("s3://bucket/a")
    bucket.rm_file(f"bucket/a/{CHUNK}")
    with pytest.raises(StoreError, match=rf"no file s3://bucket/a/{CHUNK}"):
        read_all("s3://bucket/a")


def test_s3_that_forbids_or_is_gone(bucket, tmp_path, monkeypatch):
    extract_to(tmp_path / "a")
    with serving(tmp_path) as (server, address):
        server.actions["/"] = forbid
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        fsspec.filesystem("s3").clear_instance_cache()
        with pytest.raises(StoreError, match=r"s3://bucket/a.* cannot be reached"):
            read_all("s3://bucket/a")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(StoreError, match=r"s3://bucket/a.* cannot be reached"):
        si.publish(tmp_path / "a", "s3://bucket/a")
