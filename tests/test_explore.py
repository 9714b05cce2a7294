"""The page of ``dfp explore``: what it shows is what dfp computes, and nobody else gets to see it."""

import asyncio
import dataclasses
import http.client
import re
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

import dfp
from dfp.cli import commands

pytest.importorskip("bokeh", reason="the extra dfp[explore] is not installed")

from dfp.explore import live, picture, run, server
from dfp.explore.picture import EQUATIONS, Knobs
from validation import browser

TOLERANCE = 1e-10  # closed forms of the same numbers in another order


class Shown:
    """A server in a thread of its own, as ``dfp explore`` runs it."""

    def __init__(self, document):
        self.ready, self.loop = threading.Event(), asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, args=(document,), daemon=True)
        self.thread.start()
        assert self.ready.wait(30)
        parts = urlsplit(self.running.url)
        self.host, self.path = parts.netloc, parts.path

    def _run(self, document):
        asyncio.set_event_loop(self.loop)

        async def begin():
            self.running = server.start(document)
            self.ready.set()

        self.loop.run_until_complete(begin())
        self.loop.run_forever()

    def stop(self):
        self.loop.call_soon_threadsafe(self.running.stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def get(self, path, **headers):
        """Return status, headers and text of a raw request, with exactly the headers given."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"Host": self.host} | headers).items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        # A WebSocket that opens has no end to read to.
        text = "" if answer.status == 101 else answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text


@pytest.fixture(scope="module")
def shown():
    page = Shown(live.document)
    yield page
    page.stop()


def test_the_page_comes_from_here_alone(shown):
    """Every address in it is relative; a policy has the browser refuse all others."""
    status, headers, text = shown.get(shown.path)
    assert status == 200 and "dfp explore" in text
    loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']([^\"']+)", text)
    assert loaded and all(address.startswith((shown.path, "data:")) for address in loaded), loaded
    assert all(shown.get(address)[0] == 200 for address in loaded if address.startswith("/"))
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/wrong/", "/static/js/bokeh.min.js", "/ws", "/metadata", "/%2e%2e/", "//"])
def test_without_the_token_there_is_nothing(shown, path):
    assert shown.get(path)[0] == 403


def test_a_token_that_is_nearly_right_is_wrong(shown):
    token = shown.path.strip("/")
    for other in (token[:-1], token + "x", token.swapcase(), ""):
        assert shown.get(f"/{other}/")[0] == 403
    assert len(token) >= 32  # 24 random bytes


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "0.0.0.0", ""])
def test_another_host_is_refused(shown, host):
    """A name that its owner points at 127.0.0.1 (DNS rebinding) is not ours."""
    assert shown.get(shown.path, Host=host)[0] == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost", "http://127.0.0.1:1"])
def test_another_origin_is_refused(shown, origin):
    assert shown.get(shown.path, Origin=origin)[0] == 403


def upgrade(shown, **headers):
    """Return the status of the handshake of a WebSocket with a session that the page gave."""
    session = re.search(r'"token":"([^"]+)"', shown.get(shown.path)[2])[1]
    needed = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec_WebSocket_Protocol": f"bokeh, {session}",
    }
    return shown.get(shown.path + "ws", **(needed | headers))[0]


def test_the_websocket_is_guarded_as_well(shown):
    port = shown.host.split(":")[1]
    assert upgrade(shown, Origin=f"http://{shown.host}") == 101
    assert upgrade(shown, Origin=f"http://localhost:{port}", Host=f"localhost:{port}") == 101
    assert upgrade(shown, Origin="http://evil.example") == 403
    assert upgrade(shown, Host="evil.example") == 403


def test_it_listens_on_the_loopback_address_alone(shown):
    addresses = {socket.getsockname()[0] for socket in shown.running.http._sockets.values()}
    assert addresses == {"127.0.0.1"}


# What Tornado asks of asyncio for a client, of Python 3.12 and on.
@pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")
def test_a_slider_moves_the_densities(shown):
    """Over a WebSocket, as a browser would: the value goes there, and what is shown is solved anew."""
    from bokeh.client import pull_session

    with pull_session(url=shown.running.url.rstrip("/")) as session:
        session.document.get_model_by_name("learning_rate").value = 0.5
        session.force_roundtrip()
        (served,) = (open_ for open_ in shown.running.server.get_sessions("/") if open_.id == session.id)
        density = served.document.get_model_by_name("density")
        expected = picture.picture(Knobs(learning_rate=0.5)).densities[EQUATIONS[0]]
        # It solves once the message has been answered: some milliseconds later, or seconds on a machine that is busy.
        for _ in range(600):
            if np.array_equal(density.data[EQUATIONS[0]], expected):
                return
            time.sleep(0.05)
        pytest.fail("the densities are still those of another learning rate")


def test_densities_are_the_stationary_laws():
    """Γ = 0: Gaussians of (T10) and of Langevin, and Student's t of (T5)."""
    knobs = Knobs(curvature_noise=0.0, gradient_noise=2.0, learning_rate=0.4, batch_size=2)
    seen = picture.picture(knobs)
    nu = 1 + 2 / 0.4
    truths = (
        stats.norm(scale=np.sqrt(0.4 / (2 - 0.4))),
        stats.t(nu, scale=1 / np.sqrt(nu)),
        stats.norm(scale=np.sqrt(0.4 / 2)),
    )
    for name, truth in zip(EQUATIONS, truths, strict=True):
        np.testing.assert_allclose(seen.densities[name], truth.pdf(seen.theta), atol=TOLERANCE)
    assert seen.regime == "confined" and not seen.notes and seen.dot == (0.4, 0.0)


def test_what_is_not_known_is_said():
    """Momentum: no (T5) density; a mode without a law: none at all, but variances and a regime."""
    heavy = picture.picture(Knobs(momentum=0.9, curvature_noise=0.0))
    assert np.isfinite(heavy.densities[EQUATIONS[0]]).all() and np.isnan(heavy.densities[EQUATIONS[1]]).all()
    assert any("momentum" in note for note in heavy.notes)
    lost = picture.picture(Knobs(curvature=-0.3))
    assert lost.regime == "unstable" and len(lost.notes) == 3 and np.isfinite(lost.variances[EQUATIONS[0]][0])


def test_the_map_is_that_of_every_learning_rate():
    """ηλ and η²Γ/B decide: the regime in the middle of a cell is that of the page's mode, whatever η and B are."""
    codes, ((left, right), (bottom, top), count) = picture.regimes(), picture.MAP
    x, y = np.linspace(left, right, count), np.linspace(bottom, top, count)
    for i, j in ((5, 20), (40, 20), (2, 10), (20, 40), (30, 47), (8, 2)):
        knobs = Knobs(curvature=x[j] / 0.3, curvature_noise=4 * y[i] / 0.09, learning_rate=0.3, batch_size=4)
        assert picture.picture(knobs).regime == picture.REGIMES[codes[i, j]]
    along, up = picture.boundary(0.0)
    np.testing.assert_allclose(along**2 + up, 2 * along, rtol=TOLERANCE)  # (T12)


def saved(tmp_path, hessian, steps):
    d = len(hessian)
    sgd = dfp.SGD(dfp.QuadraticLandscape(hessian, noise=dfp.GaussianNoise(np.full(d, 0.3))), 0.2)
    solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(np.ones(d), 0.1), steps[-1], steps, grid=24)
    solution.save(tmp_path / "run.h5")
    return solution


@pytest.mark.parametrize("hessian", [[1.0], [1.0, 0.3]])
def test_a_file_is_shown_step_by_step(tmp_path, hessian):
    """The slider points into the saved steps; the arrays are those of the file."""
    from bokeh.document import Document

    solution, page = saved(tmp_path, hessian, [0, 3, 9]), Document()
    run.document(tmp_path / "run.h5")(page)
    slider, words = page.get_model_by_name("step"), page.get_model_by_name("words")
    assert "step 9" in words.text
    slider.value = 1
    assert "step 3" in words.text
    data = page.get_model_by_name(solution.equation).data
    drawn = data["y"] if len(hessian) == 1 else data["image"][0].T * solution.density[1].max()
    np.testing.assert_allclose(drawn, solution.density[1], rtol=TOLERANCE)


def test_what_a_file_says_is_text_not_markup(tmp_path):
    """A file may come from anybody: its warnings must not become part of the page."""
    solution = saved(tmp_path, [1.0], [0, 3])
    shouting = dataclasses.replace(solution.certificate, warnings=("<script>alert(1)</script>",))
    dataclasses.replace(solution, certificate=shouting).save(tmp_path / "run.h5")
    from bokeh.document import Document

    page = Document()
    run.document(tmp_path / "run.h5")(page)
    text = page.get_model_by_name("words").text
    assert "&lt;script&gt;" in text and "<script>" not in text


def test_the_command_says_what_is_wrong_before_it_listens(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "serve", lambda *_: pytest.fail("it listens"))
    missing = CliRunner().invoke(commands.app, ["explore", str(tmp_path / "none.h5")])
    assert missing.exit_code == 2
    dfp.phase_diagram({"learning_rate": [0.1]}, {"curvature_noise": [0.0, 1.0]}, curvature=1, gradient_noise=1).save(
        tmp_path / "phases.h5"
    )
    assert CliRunner().invoke(commands.app, ["explore", str(tmp_path / "phases.h5")]).exit_code == 2


def test_a_port_that_is_taken_is_refused(shown):
    async def again():
        server.start(live.document, int(shown.host.split(":")[1]))

    with pytest.raises(dfp.DFPError, match="choose another"):
        asyncio.run(again())


# Sets a slider and waits until the new densities have been painted; returns the milliseconds.
MOVE = """(async (value) => {
  const page = Bokeh.documents[0], density = page.get_model_by_name("density"), began = performance.now();
  await new Promise((done) => {
    const seen = () => {
      density.properties.data.change.disconnect(seen);
      requestAnimationFrame(() => requestAnimationFrame(done));
    };
    density.properties.data.change.connect(seen);
    page.get_model_by_name("learning_rate").value = value;
  });
  return performance.now() - began;
})"""
READY = "(async () => { while (!window.Bokeh?.documents?.length) await new Promise(r => setTimeout(r, 50)); })()"


@pytest.mark.skipif(not browser.CHROMIUM, reason="Chromium is not installed")
def test_a_browser_shows_it_and_loads_nothing_from_elsewhere(shown, tmp_path):
    """The slider moves, the densities are those of dfp, and every address that was asked for is the server's own."""

    async def look():
        async with browser.Tab(tmp_path / "profile") as tab:
            await tab.call("Page.navigate", url=shown.running.url)
            await asyncio.sleep(1)
            await tab.evaluate(READY)
            taken = await tab.evaluate(f"{MOVE}(0.35)")
            drawn = await tab.evaluate(
                f"Array.from(Bokeh.documents[0].get_model_by_name('density').get({EQUATIONS[0]!r}))"
            )
            return taken, drawn, tab.loaded()

    taken, drawn, loaded = asyncio.run(look())
    np.testing.assert_array_equal(drawn, picture.picture(Knobs(learning_rate=0.35)).densities[EQUATIONS[0]])
    assert all(urlsplit(address).netloc == shown.host for address in loaded), loaded
    assert taken > 0
