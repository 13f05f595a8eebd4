from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from rgb2act_core.data.episode_store import write_episode
from rgb2act_core.data.video import write_mp4
from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import Episode
from rgb2act_core.reporting import charts, html, report
from rgb2act_core.store.group_writer import GroupWriter
from rgb2act_core.training.metrics_log import MetricsLog

NASTY = "<script>alert('x')</script>&\""


def frames(count, size=48):
    y, x = np.mgrid[:size, :size]
    film = np.zeros((count, size, size, 3), np.uint8)
    film[:] = np.stack([90 + y, 110 + x, 120 + 0 * x], -1)
    for t in range(count):
        inside = (y - size / 2) ** 2 + (x - 8 - 30 * t / count) ** 2 < 60
        film[t][inside] = (220, 60, 40)
    return film


def store_demonstration(root, cameras=("left", NASTY)):
    rgb = np.stack([frames(20), frames(20)[::-1]], 1)
    episode = Episode(
        name="episode_000003",
        task="lift",
        instruction=f"lift {NASTY}",
        cameras=cameras,
        rgb=rgb,
        joints=np.zeros((20, 2), np.float32),
        actions=np.zeros((20, 2), np.float32),
        clouds=None,
    )
    write_episode(root / "store/episodes/a/episode_000003", episode, extra={})
    tokens = rgb.reshape(20, 2, 8, 6, 8, 6, 3).mean((3, 5)).reshape(20, 2, 64, 3) / 255
    with GroupWriter(root / "store/features/patchstats-1/abc") as writer:
        writer.create("tokens", (2, 64, 3), "float16")
        writer.append("tokens", tokens.astype(np.float16))
        writer.commit({"grid": [8, 8], "component": "patchstats"})


def align_results():
    before = {"retrieval@1": 0.02, "cosine": 0.01, "r2": -0.3, "probe/object": 0.09}
    after = {"retrieval@1": 0.71, "cosine": 0.83, "r2": 0.64, "probe/object": 0.011}
    return {
        "before": before,
        "after": after,
        "pooled": {"probe/object": 0.0765},
        "measured": {"frames": 240, "pool": 100},
        "frames_per_second": 1234.5,
        "waiting": 0.031,
        "fusion": {"patchstats": 0.4, "randconv": 0.6},
        "episodes": {"train": 18, "held_out": 2},
    }


def act_results(wins, filmed, count=30):
    episodes = [
        {
            "seed": seed,
            "success": seed < wins,
            "steps": 60 + seed,
            "plans": 8,
            "video": f"videos/seed_{seed:07d}.mp4" if seed in filmed else None,
        }
        for seed in range(count)
    ]
    return {"successes": wins, "rate": wins / count, "max_steps": 120, "episodes": episodes}


def write_stage(root, name, results, rows=()):
    folder = root / "store" / name.replace("/", "-")
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"stage": name, "results": results}))
    with MetricsLog(folder / "metrics.jsonl", None, name) as journal:
        for step, values in rows:
            journal.write(step, **values)
    return folder


def align_rows():
    rng = np.random.default_rng(0)
    for step in range(0, 2000, 10):
        loss, share = math.exp(-step / 500) + 0.05 * rng.random() + 0.05, 0.5 + step / 20000
        weights = {"weight/patchstats": 1 - share, "weight/randconv": share}
        yield step, {"loss": loss, "mse": loss / 2, "lr": 1e-3, "grad_norm": 2 * loss, **weights}
        if step % 200 == 190:
            yield step, {"val/retrieval@1": step / 2800, "val/r2": step / 3000}


def train_rows():
    for step in range(0, 8000, 40):
        yield step, {"loss": math.exp(-step / 900) + 0.02, "lr": 1e-3, "grad_norm": 0.4}
        if step % 800 == 760:
            yield step, {"val/loss": math.exp(-step / 900) + 0.03}


def write_stages(root):
    write_stage(root, "align", align_results(), align_rows())
    write_stage(root, "train", {"cpu_seconds": 61.0}, train_rows())
    write_stage(root, "train/proprio_only", {"cpu_seconds": 60.5}, train_rows())
    act = write_stage(root, "act", act_results(26, filmed=(0, 29)))
    write_stage(root, "act/proprio_only", act_results(1, filmed=()))
    for seed in (0, 29):
        write_mp4(act / f"videos/seed_{seed:07d}.mp4", frames(30, 96), 25)
    curves = {"joints": [0.1, 0.3, 0.2], "hands": [0.01, 0.06, 0.0], "seams": [0.2]}
    (act / "videos/seed_0000029.json").write_text(json.dumps(curves))


NAMES = (
    *("collect", "extract/patchstats", "teacher/cloudstats"),
    *("align", "train", "act", "train/proprio_only", "act/proprio_only"),
)


@pytest.fixture
def run(tmp_path):
    """Write a run with a baseline, made by hand."""
    store_demonstration(tmp_path)
    write_stages(tmp_path)
    facts = {
        "name": "lift-demo",
        "version": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "spec": {
            "name": "lift-demo",
            "seed": 0,
            "backbone": [{"use": "patchstats"}, {"use": "randconv", "size": [1, 2]}],
            "policy": {"condition": "aligned", "head": {"use": "diffusion"}, "nothing": None},
        },
        "environment": {"python": "3.11.7", "torch": "2.13.0", "cpu": NASTY},
        "pictures": {
            "episode": "../store/episodes/a/episode_000003",
            "features": {"patchstats": "../store/features/patchstats-1/abc"},
        },
        "stages": [
            {
                "stage": name,
                "key": "0123456789abcdef",
                "path": f"../store/{name.replace('/', '-')}",
                "cached": name == "collect",
                "reason": NASTY if name == "align" else "",
                "seconds": 75.0,
                "cpu_seconds": 140.0,
            }
            for name in NAMES
        ],
    }
    folder = tmp_path / "runs/lift-demo"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def edit(run, change):
    facts = json.loads((run / "run.json").read_text())
    change(facts)
    (run / "run.json").write_text(json.dumps(facts))


def test_page_tells_rejected_seeds_and_repeated_episodes(run):
    assert "not accepted" not in page(run)
    assert "repeated" not in page(run)
    act = run.parent.parent / "store/act"
    stage = json.loads((act / "stage.json").read_text())
    rows = [{"seed": s, "reason": NASTY if s == 9 else "unstable: box"} for s in (*range(7), 9)]
    stage["results"]["seeds"] = {"accepted": list(range(30)), "rejected": rows}
    (act / "stage.json").write_text(json.dumps(stage))
    loss = {"seed": 5, "chunk": 2, "why": f"it died {NASTY}\nits last output"}
    (act / "lost.json").write_text(json.dumps({"lost": [loss]}))
    text = page(run)
    assert "8 of 38; none of them counts as a failure." in text
    assert '<td>unstable: box</td><td class="n">7</td><td>0, 1, 2, 3, 4, 5, 6</td>' in text
    assert '<td class="n">5</td><td class="n">2</td><td>it died &lt;script&gt;' in text
    assert "its last output<" not in text
    assert NASTY not in text
    (act / "lost.json").write_text("{")
    assert "lost.json" in page(run)  # the rest of the page stands


def page(run):
    return report.write(run).read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "poster", "data")]
        if tag not in ("meta", "link", "img", "rect", "path", "polyline", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags(text):
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_page_tells_success_with_its_interval(run):
    text = page(run)
    assert "<b>87 %</b>" in text
    assert "95 % interval 70 % to 95 %; 26 of 30 seeds" in text


def test_baselines_stand_beside_the_policy(run):
    comparison = page(run).partition("<h2>Success</h2>")[2].partition("</section>")[0]
    rows = re.sub("<[^>]+>", " ", comparison.replace("</tr>", "\n")).split("\n")
    assert [row.split()[:4] for row in rows[1:3]] == [
        ["policy", "of", "this", "run"],
        ["proprio_only", "3", "%", "1"],
    ]


def test_page_has_every_part(run):
    seen = tags(page(run)).seen
    assert seen.count("video") == 2
    assert seen.count("img") == 2 * 2 * 5  # two cameras, frame and one backbone, five steps
    assert seen.count("svg") >= 12
    text = page(run)
    for heading in (
        *("Success", "Rollouts", "Alignment", "Fusion", "Learning curves", "Features", "Episodes"),
        *("Stages", "Versions", "Spec"),
    ):
        assert re.search(rf"<h[23]>{heading}</h[23]>", text), heading
    assert "probe/object" in text
    assert "0.0765" in text
    assert "1,234 samples/s, 3.1 % of it waiting for data." in text or "1,235" in text
    assert "patchstats 40 %, randconv 60 %" in text
    assert "1 min 15 s" in text


def test_course_of_a_filmed_episode_is_drawn(run):
    rollouts = page(run).partition("<h2>Rollouts</h2>")[2].partition("</section>")[0]
    titles = re.findall('aria-label="(seed[^"]*)"', rollouts)
    assert titles == [
        "seed 29: joints&#x27; steps, rad",
        "seed 29: fastest hand&#x27;s steps, m",
        "seed 29: seams, by plan",
    ]


def test_page_needs_nothing_else(run):
    parser = tags(page(run))
    assert all(address.startswith("data:") for address in parser.addresses)
    assert "script" not in parser.seen
    assert not re.search(r"https?://|url\(|@import", page(run))


def test_text_from_files_is_escaped(run):
    edit(run, lambda facts: facts.update(name=NASTY, version=NASTY))
    text = page(run)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 5
    tags(text)


def test_same_run_gives_the_same_page(run):
    assert page(run) == page(run)
    assert [p.name for p in run.iterdir() if "part" in p.name] == []


def test_run_that_stopped_early_says_so(run):
    edit(run, lambda facts: facts.update(stages=facts["stages"][:4], pictures=None))
    text = page(run)
    assert "there is no train and no act stage yet" in text
    assert "the policy has not acted" in text
    assert "<h2>Alignment</h2>" in text


def test_run_without_any_stage_has_a_page(run):
    edit(run, lambda facts: facts.update(stages=[]) or facts.pop("pictures"))
    assert "no align and no train and no act stage" in page(run)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"name": "a", "spec": {}, "stages": [1]}', None]
)
def test_damaged_run_file_is_named(run, content):
    (run / "run.json").unlink()
    if content is not None:
        (run / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json"):
        report.write(run)
    assert not (run / "report.html").exists()


def store(run, *parts):
    return run.parent.parent.joinpath("store", *parts)


def test_cut_video_becomes_a_note(run):
    film = store(run, "act/videos/seed_0000000.mp4")
    film.write_bytes(film.read_bytes()[:-200])
    text = page(run)
    assert re.search(r'class="note">[^<]*seed_0000000\.mp4: ', text)
    assert tags(text).seen.count("video") == 1


def test_missing_video_becomes_a_note(run):
    store(run, "act/videos/seed_0000029.mp4").unlink()
    assert re.search(r'class="note">[^<]*seed_0000029\.mp4: ', page(run))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("align/metrics.jsonl", "{}\n"),
        ("train/stage.json", "{"),
        ("act/stage.json", '{"results": {"episodes": [{"seed": 1}]}}'),
        ("align/stage.json", '{"results": {"before": 3, "after": "x"}}'),
        ("episodes/a/episode_000003/zarr.json", "{"),
        ("features/patchstats-1/abc/zarr.json", "{"),
    ],
)
def test_damaged_files_become_notes(run, file, content):
    store(run, file).write_text(content)
    text = page(run)
    assert 'class="note"' in text
    tags(text)


def test_features_of_another_episode_become_a_note(run):
    with GroupWriter(store(run, "features/patchstats-1/other")) as writer:
        writer.create("tokens", (2, 64, 3), "float16")
        writer.append("tokens", np.zeros((4, 2, 64, 3), np.float16))
        writer.commit({"grid": [8, 8]})
    place = "../store/features/patchstats-1/other"
    edit(run, lambda facts: facts["pictures"]["features"].update(patchstats=place))
    assert "tokens do not fit episode episode_000003" in page(run)


def test_spec_is_shown_as_toml(run):
    import tomllib

    facts = json.loads((run / "run.json").read_text())
    del facts["spec"]["policy"]["nothing"]
    assert tomllib.loads(html.toml(facts["spec"])) == facts["spec"]


def test_chart_leaves_out_what_is_not_finite():
    points = [(0, 1.0), (1, math.nan), (2, math.inf), (3, 0.5)]
    svg = charts.chart("loss", {"loss": points}, log=True)
    assert "nan" not in svg
    assert "inf" not in svg
    assert len(re.search(r'points="([^"]*)"', svg)[1].split()) == 2


@pytest.mark.parametrize("points", [[], [(5, 2.0)], [(0, 3.0), (1, 3.0)], [(0, 0.0), (1, 0.0)]])
@pytest.mark.parametrize("log", [False, True])
def test_chart_of_hardly_anything_is_drawn(points, log):
    tags(charts.chart("t", {"a": points}, log=log))


def test_like_tokens_have_like_colours():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 5))
    at = rng.integers(0, 3, (2, 1, 12))
    colours = charts.pca_rgb(kinds[at].astype(np.float16), (3, 4))
    assert colours.shape == (2, 1, 3, 4, 3)
    by_kind = [np.unique(colours.reshape(2, 1, 12, 3)[at == kind], axis=0) for kind in range(3)]
    assert [len(found) for found in by_kind] == [1, 1, 1]
    assert len(np.unique(np.concatenate(by_kind), axis=0)) == 3


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.03, 0.4, [0.02, 0.05, 0.1, 0.2, 0.5]),
        (1.0, 1.0, [1, 2]),
        (1e-6, 900.0, [1e-6, 1e-4, 1e-2, 1, 100, 1e4]),
    ],
)
def test_ticks_of_a_log_axis_are_round_and_enclose(low, high, ticks):
    assert charts._log_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("channels", [1, 2])
def test_few_channels_still_give_colours(channels):
    tokens = np.random.default_rng(0).normal(size=(2, 1, 6, channels))
    assert charts.pca_rgb(tokens, (2, 3)).shape == (2, 1, 2, 3, 3)


PROBE = """<script>
addEventListener("load", async () => {
  const films = [...document.querySelectorAll("video")];
  const ready = () => films.every((film) => film.readyState >= 2 && film.videoWidth === 96);
  for (let i = 0; i < 100 && !ready(); i++) await new Promise((go) => setTimeout(go, 50));
  const images = [...document.images].every((image) => image.naturalWidth > 0);
  document.title = `films=${films.map((film) => film.readyState)} images=${images}`;
});
</script></body>"""


@pytest.fixture
def browse(tmp_path):
    """Return a function that runs headless Chromium on a file."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium on the path")

    def browse(path, *how):
        quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking"
        more = "--disable-component-update --disable-sync --no-sandbox --hide-scrollbars"
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [browser, "--headless", *quiet.split(), *more.split(), profile, *how]
        done = subprocess.run(
            [*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout

    return browse


@pytest.mark.slow
def test_chromium_plays_the_films_and_shows_the_pictures(run, browse, tmp_path):
    text = page(run).replace("default-src 'none'", "script-src 'unsafe-inline'")
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    dom = browse(probed, "--virtual-time-budget=20000", "--dump-dom")
    title = re.search("<title>(.*?)</title>", dom)[1]
    films = re.fullmatch(r"films=(\d),(\d) images=true", title)
    assert films, title
    assert all(int(state) >= 2 for state in films.groups())  # 2: a frame is there to be shown


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_chromium_draws_the_page(run, browse, tmp_path, dark):
    shot = tmp_path / "shot.png"
    how = ["--blink-settings=preferredColorScheme=0"] if dark else []
    browse(report.write(run), f"--screenshot={shot}", "--window-size=1200,1600", *how)
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert len(np.unique(pixels)) > 50  # text, curves and bars: not one flat colour
    assert (pixels.mean() < 100) == dark
