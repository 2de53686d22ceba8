"""Judges: what they ask, what they keep, and that a key stays where it is."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.models import judge
from saebench_lite.models.judge import LocalJudge, RemoteJudge, open_judge

SECRET = "sk-very-secret"


class Server:
    """A local server of chat completions that answers with the prompt in capitals, after `failures` errors."""

    def __init__(self):
        self.seen, self.failures, self.reply = [], [], None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.seen.append((self.path, self.headers.get("Authorization"), body))
                status = server.failures.pop(0) if server.failures else 200
                words = body["messages"][0]["content"].upper()
                answer = server.reply or json.dumps({"choices": [{"message": {"content": words}}]})
                answer = answer if status == 200 else f"broken, {self.headers.get('Authorization')}"
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, format, *args):
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_a_remote_judge_asks_each_prompt_once_and_tells_first(server, tmp_path, caplog, monkeypatch):
    monkeypatch.setenv(judge.PRICE, "1000000,2000000")
    remote = RemoteJudge(server.url, "big", cache=tmp_path, max_tokens=3)
    with caplog.at_level(logging.WARNING):
        assert remote.ask(["good", "evil", "good"]) == ["GOOD", "EVIL", "GOOD"]
    assert "2 calls, about 2 tokens to read and 6 to write at most; at most about 14.00 USD" in caplog.text
    assert len(server.seen) == 2
    assert remote.ask(["evil"]) == ["EVIL"]
    assert RemoteJudge(server.url + "/", "big", cache=tmp_path, max_tokens=3).ask(["good"]) == ["GOOD"]
    assert len(server.seen) == 2
    path, key, body = server.seen[0]
    assert (path, key) == ("/v1/chat/completions", None)
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("big", 0, 3)
    with pytest.raises(SaebenchError, match="would be called 2 times, more than the 1 allowed"):
        RemoteJudge(server.url, "big", cache=tmp_path, max_calls=1).ask(["a", "b"])


def test_errors_that_pass_are_waited_for_and_others_told(server, tmp_path, monkeypatch, caplog):
    waited = []
    remote = RemoteJudge(server.url, "big", cache=tmp_path, workers=1, retries=2, wait=waited.append)
    server.failures = [429, 503]
    assert remote.ask(["x"]) == ["X"]
    assert waited == [1, 2]
    monkeypatch.setenv(judge.KEY, SECRET)
    for failures in ([500] * 3, [401], [302]):
        server.failures = list(failures)
        with pytest.raises(SaebenchError, match=f"HTTP {failures[0]}: .*run again to go on") as error:
            remote.ask(["y"])
        assert SECRET not in str(error.value)
    assert server.seen[-1][1] == f"Bearer {SECRET}"
    server.reply = "[]"
    with pytest.raises(SaebenchError, match="no chat completion"):
        remote.ask(["z"])
    stored = "".join(p.read_text() for p in tmp_path.rglob("*.json"))
    assert "X" in stored
    assert SECRET not in stored + caplog.text


def test_answers_before_a_failure_are_not_asked_again(server, tmp_path):
    remote = RemoteJudge(server.url, "big", cache=tmp_path, workers=1, retries=0)
    server.failures = [200, 400]
    with pytest.raises(SaebenchError):
        remote.ask(["a", "b"])
    assert remote.unanswered(["a", "b"]) == ["b"]
    next(tmp_path.rglob("*.json")).write_text("damaged")
    assert remote.unanswered(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:8000", "is no address"),
        ("ftp://a.example/v1", "is no address"),
        ("https://me:pw@a.example/v1", "holds more than an address"),
        ("https://a.example/v1?key=1", "holds more than an address"),
        ("http://a.example/v1", "unencrypted"),
    ],
)
def test_urls_that_are_refused(url, says, monkeypatch):
    monkeypatch.setenv(judge.KEY, SECRET)
    with pytest.raises(SaebenchError, match=says) as error:
        open_judge(url, "big")
    assert SECRET not in str(error.value)
    assert ":pw@" not in str(error.value)


def test_a_local_judge_answers_greedily(pico, tmp_path, caplog):
    local = LocalJudge(pico, cache=tmp_path, max_tokens=4)
    with caplog.at_level(logging.WARNING):
        first = local.ask(["Once upon a time", "Once upon a time"])
    assert first[0] == first[1] != ""
    assert "1 call," in caplog.text
    assert "runs on this machine" in caplog.text
    assert LocalJudge(pico, cache=tmp_path, max_tokens=4).unanswered(["Once upon a time"]) == []
    with pytest.raises(SaebenchError, match="no judge is named"):
        open_judge("", "")
    with pytest.raises(SaebenchError, match="needs the name of a model"):
        open_judge("http://localhost:1/v1", "")
