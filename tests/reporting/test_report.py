"""The report page: its content, escaping, and damaged files."""

from __future__ import annotations

import base64
import hashlib
import html
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
from rgb2act_core.evaluation.rollout_files import RolloutFile
from rgb2act_core.interfaces import Episode
from rgb2act_core.reporting import report
from rgb2act_core.reporting.formats import toml
from rgb2act_core.store.group_writer import GroupWriter
from rgb2act_core.training.metrics_log import MetricsLog

NASTY = "<script>alert('x')</script>&\""


def frames(count, size=48):
    y, x = np.mgrid[:size, :size]
    video = np.zeros((count, size, size, 3), np.uint8)
    video[:] = np.stack([90 + y, 110 + x, 120 + 0 * x], -1)
    for t in range(count):
        inside = (y - size / 2) ** 2 + (x - 8 - 30 * t / count) ** 2 < 60
        video[t][inside] = (220, 60, 40)
    return video


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
        "frames_per_second": 1234.0,
        "waiting": 0.031,
        "fusion": {"patchstats": 0.4, "randconv": 0.6},
        "episodes": {"train": 18, "held_out": 2},
    }


def act_results(wins, recorded, count=30):
    episodes = [
        {
            "seed": seed,
            "success": seed < wins,
            "steps": 60 + seed,
            "plans": 8,
            "video": f"videos/seed_{seed:07d}.mp4" if seed in recorded else None,
        }
        for seed in range(count)
    ]
    return {"successes": wins, "rate": wins / count, "max_steps": 120, "episodes": episodes}


def write_stage(root, name, results, rows=()):
    folder = root / "store" / name.replace("/", "-")
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"stage": name, "results": results}))
    with MetricsLog(folder / "metrics.jsonl") as journal:
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
    act = write_stage(root, "act", act_results(26, recorded=(0, 29)))
    write_stage(root, "act/proprio_only", act_results(1, recorded=()))
    for seed in (0, 29):
        write_mp4(act / f"videos/seed_{seed:07d}.mp4", frames(30, 96), 25)
    rollout(seed=29).save(act)


def rollout(seed, task=None):
    """Return a failed episode of three steps of an arm with two joints, in two plans."""
    return RolloutFile(
        seed=seed,
        success=False,
        task=task,
        scene=None,
        chunk=2,
        action_names=["left_shoulder", "left_elbow"],
        commands=np.array([[0, 0], [0.3, 0.4], [0.3, 0.6]], np.float32),
        hands=np.zeros((4, 1, 3), np.float32),
        joints=np.zeros((3, 2), np.float32),
        observed=np.array([0, 2, 3]),
        plans=np.zeros((2, 4, 2), np.float32),
        plan_steps=np.array([0, 2]),
        seams=np.array([0.2]),
        moved=np.arange(2),
    )


NAMES = (
    *("collect", "extract/patchstats", "teacher/cloudstats"),
    *("align", "train", "act", "train/proprio_only", "act/proprio_only"),
)


def stage_entry(name):
    return {
        "stage": name,
        "key": "0123456789abcdef",
        "path": f"../store/{name.replace('/', '-')}",
        "cached": name == "collect",
        "reason": NASTY if name == "align" else "",
        "seconds": 75.0,
        "cpu_seconds": 140.0,
    }


@pytest.fixture
def run(tmp_path):
    """Write the files of a run with a baseline, without running it."""
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
        "samples": {
            "episode": "../store/episodes/a/episode_000003",
            "features": {"patchstats": "../store/features/patchstats-1/abc"},
        },
        "stages": [stage_entry(name) for name in NAMES],
    }
    folder = tmp_path / "runs/lift-demo"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def add_episode(run, episode):
    path = store(run, "act/stage.json")
    stage = json.loads(path.read_text())
    stage["results"]["episodes"].append(episode)
    path.write_text(json.dumps(stage))


def edit(run, change):
    facts = json.loads((run / "run.json").read_text())
    change(facts)
    (run / "run.json").write_text(json.dumps(facts))


def test_page_lists_rejected_seeds_and_repeated_episodes(run):
    assert "Rejected" not in page(run)
    assert "Repeated" not in page(run)
    act = run.parent.parent / "store/act"
    stage = json.loads((act / "stage.json").read_text())
    rows = [{"seed": s, "reason": NASTY if s == 9 else "unstable: box"} for s in (*range(7), 9)]
    stage["results"]["seeds"] = {"accepted": list(range(30)), "rejected": rows}
    (act / "stage.json").write_text(json.dumps(stage))
    loss = {"seed": 5, "chunk": 2, "why": f"it died {NASTY}\nits last output"}
    (act / "lost.json").write_text(json.dumps({"lost": [loss]}))
    text = page(run)
    assert "8 of 38 seeds; none counts as a failure." in text
    assert '<td>unstable: box</td><td class="n">7</td><td>0, 1, 2, 3, 4, 5, 6</td>' in text
    assert '<td class="n">5</td><td class="n">2</td><td>it died &lt;script&gt;' in text
    assert "its last output<" not in text
    assert NASTY not in text
    (act / "lost.json").write_text("{")
    assert "lost.json" in page(run)  # the rest of the page is shown


def page(run):
    return report.write(run).read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tag_names, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tag_names.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "poster", "data")]
        if tag not in ("meta", "link", "img", "rect", "path", "polyline", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tag_names.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags(text):
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_page_shows_the_success_rate_with_its_interval(run):
    text = page(run)
    assert "<b>87 %</b>" in text
    assert "95 % interval 70 % to 95 %; 26 of 30 seeds" in text


def test_baselines_are_compared_with_the_policy(run):
    comparison = page(run).partition("<h2>Success</h2>")[2].partition("</section>")[0]
    rows = [re.sub("<[^>]+>", " ", row) for row in comparison.split("</tr>")]
    assert [row.split()[:4] for row in rows[1:3]] == [
        ["policy", "of", "this", "run"],
        ["proprio_only", "3", "%", "1"],
    ]


def test_page_has_every_part(run):
    names = tags(page(run)).tag_names
    assert names.count("video") == 2
    assert names.count("img") == 2 * 2 * 5  # two cameras, frame and one backbone, five steps
    assert names.count("svg") >= 12
    text = page(run)
    for heading in (
        *("Success", "Rollouts", "Alignment", "Fusion", "Learning curves", "Features", "Episodes"),
        *("Motion", "Stages", "Machine and versions", "Spec"),
    ):
        assert re.search(rf"<h[23]>{heading}</h[23]>", text), heading
    assert "probe/object" in text
    assert "0.0765" in text
    assert "1,234 samples/s, 3.1% of the time waiting for data." in text
    assert "patchstats 40 %, randconv 60 %" in text
    assert "1 min 15 s" in text


def test_motion_of_a_filmed_episode_is_drawn(run):
    motion = page(run).partition("<h2>Motion</h2>")[2].partition("</section>")[0]
    assert "<summary>seed 29: \u2717 failed</summary>" in motion
    assert re.findall('aria-label="([^"]*)"', motion) == [
        "seed 29: joint steps, rad: joints",
        "seed 29: steps of the fastest hand, m: hands",
        "seed 29: seam per plan: seams",
        "left_shoulder: command, observed",
        "left_elbow: command, observed",
    ]


def test_demonstrations_are_drawn_behind_the_joints(run):
    edit(run, lambda facts: facts["stages"][0].update(path="../store/episodes/a"))
    assert 'aria-label="left_elbow: command, observed, demonstrations"' in page(run)


def test_failures_come_first(run):
    text = page(run)
    captions = re.findall("<figcaption>(seed [0-9]+), ", text)
    assert captions == ["seed 29", "seed 0"]
    table = text.partition("<h2>Episodes</h2>")[2].partition("<tbody>")[2]
    assert re.findall('<tr><td class="n">([0-9]+)<', table)[:6] == [
        "26",
        "27",
        "28",
        "29",
        "0",
        "1",
    ]


def test_results_come_before_charts(run):
    text = page(run)
    charts = text.index('<figure class="chart">')
    assert all(text.index(f"<h2>{title}</h2>") < charts for title in ("Success", "Episodes"))
    assert text.index("probe/object") < charts


def test_contents_link_to_every_section(run):
    text = page(run)
    contents = text.partition('<nav aria-label="Contents">')[2].partition("</nav>")[0]
    assert re.findall('href="#([^"]+)"', contents) == re.findall('<section id="([^"]+)">', text)
    assert '<section id="machine-and-versions">' in text


def test_training_time_includes_the_aligner_as_the_budget_of_baselines_does(run):
    path = store(run, "align/stage.json")
    stage = json.loads(path.read_text())
    stage["results"]["cpu_seconds"] = 120.0
    path.write_text(json.dumps(stage))
    comparison = page(run).partition("<h2>Success</h2>")[2].partition("</section>")[0]
    assert "3 min 1 s" in comparison  # 120 s and 61 s


def test_spec_shows_what_differs_and_folds_the_rest(run):
    edit(run, lambda facts: facts["spec"].update(act={"episodes": 3, "videos": 4}))
    spec = page(run).partition("<h2>Spec</h2>")[2]
    shown, _, folded = spec.partition("<details>")
    assert "episodes = 3" in shown
    assert "videos" not in shown  # the default
    assert "videos = 4" in folded


def test_memory_and_parameters_of_stages_are_shown(run):
    path = store(run, "train/stage.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"peak_memory": 3 * 2**30}))
    header = {"__metadata__": {}, "w": {"dtype": "F32", "shape": [40, 30]}, "n": {"dtype": "I64"}}
    text = json.dumps(header).encode()
    store(run, "train/policy.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    stages = page(run).partition("<h2>Stages</h2>")[2].partition("</section>")[0]
    assert ">1,200<" in stages
    assert ">3.22 GB<" in stages


def test_charts_and_videos_have_accessible_names(run):
    text = page(run)
    assert 'aria-label="Video of seed 29, 89 steps, \u2717 failed"' in text
    drawings = re.findall("<svg[^>]*>", text)
    assert all("aria-hidden" in svg or 'role="img" aria-label="' in svg for svg in drawings)


def test_page_refers_to_no_other_file(run):
    text = page(run)
    parser = tags(text)
    assert all(address.startswith(("data:", "#")) for address in parser.addresses)
    assert not re.search(r"https?://|url\(|@import", text)


def test_only_the_script_that_sorts_tables_may_run(run):
    text = page(run)
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_text_from_files_is_escaped(run):
    edit(run, lambda facts: facts.update(name=NASTY, version=NASTY))
    for name in ("extract", "train"):  # names of a backbone, of a metric and of a task
        edit(run, lambda facts, name=name: facts["stages"].append(stage_entry(f"{name}/{NASTY}")))
    with store(run, "train/metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": 8000, f"val/{NASTY}": 1.0}) + "\n")
    episode = {"seed": 30, "success": True, "steps": 3, "task": NASTY, "video": f"videos/{NASTY}"}
    add_episode(run, episode)
    text = page(run)
    assert text.count("<script") == 1
    assert "alert(&#39;x&#39;)" in text
    assert text.count("&lt;script&gt;") >= 12
    tags(text)


def test_same_run_gives_the_same_page(run):
    assert page(run) == page(run)
    assert [p.name for p in run.iterdir() if "part" in p.name] == []


def test_unfinished_run_lists_the_missing_stages(run):
    edit(run, lambda facts: facts.update(stages=facts["stages"][:4], samples=None))
    text = page(run)
    assert "has not finished: train, act did not run yet." in text
    assert "the policy was not evaluated" in text
    assert "<h2>Alignment</h2>" in text


def test_run_without_any_stage_has_a_page(run):
    edit(run, lambda facts: facts.update(stages=[]) or facts.pop("samples"))
    assert "align, train, act did not run yet" in page(run)


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", "{}", None),
        '{"name": "a", "spec": {}, "stages": [1]}',
        '{"name": "a", "spec": {}, "stages": [{"stage": "dream"}]}',
    ],
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


def test_truncated_video_becomes_a_note(run):
    video = store(run, "act/videos/seed_0000000.mp4")
    video.write_bytes(video.read_bytes()[:-200])
    text = page(run)
    assert re.search(r'class="note">[^<]*seed_0000000\.mp4: ', text)
    assert tags(text).tag_names.count("video") == 1


def test_missing_video_becomes_a_note(run):
    store(run, "act/videos/seed_0000029.mp4").unlink()
    assert re.search(r'class="note">[^<]*seed_0000029\.mp4: ', page(run))


def test_video_of_a_task_with_a_slash_in_its_name_is_shown(run):
    video = "videos/libero/goal_seed_0000030.mp4"
    write_mp4(store(run, "act", video), frames(30, 96), 25)
    with_task = rollout(30, "libero/goal")
    (store(run, "act") / "rollouts/libero").mkdir(parents=True)
    with_task.save(store(run, "act"))
    named = "/".join(video.split("/")[-2:])  # results name the last two parts
    add_episode(
        run, {"seed": 30, "success": True, "steps": 3, "task": "libero/goal", "video": named}
    )
    text = page(run)
    assert tags(text).tag_names.count("video") == 3
    assert 'aria-label="libero/goal, seed 30: seam per plan: seams"' in text


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
    path = "../store/features/patchstats-1/other"
    edit(run, lambda facts: facts["samples"]["features"].update(patchstats=path))
    assert "tokens do not fit episode episode_000003" in page(run)


def test_spec_is_valid_toml(run):
    import tomllib

    facts = json.loads((run / "run.json").read_text())
    facts["spec"]["policy"]["task_weights"] = {"pick & place": 2.0, NASTY: 1.0}
    text = toml(facts["spec"])
    del facts["spec"]["policy"]["nothing"]
    assert tomllib.loads(text) == facts["spec"]


PROBE = """<script>
addEventListener("load", async () => {
  const videos = [...document.querySelectorAll("video")];
  const ready = () => videos.every((video) => video.readyState >= 2 && video.videoWidth === 96);
  for (let i = 0; i < 100 && !ready(); i++) await new Promise((go) => setTimeout(go, 50));
  const images = [...document.images].every((image) => image.naturalWidth > 0);
  document.title = `videos=${videos.map((video) => video.readyState)} images=${images}`;
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
def test_chromium_plays_the_videos_and_shows_the_images(run, browse, tmp_path):
    text = re.sub("script-src '[^']*'", "script-src 'unsafe-inline'", page(run))
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    dom = browse(probed, "--virtual-time-budget=20000", "--dump-dom")
    title = re.search("<title>(.*?)</title>", dom)[1]
    videos = re.fullmatch(r"videos=(\d),(\d) images=true", title)
    assert videos, title
    assert all(int(state) >= 2 for state in videos.groups())  # 2: a frame is decoded


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_chromium_draws_the_page(run, browse, tmp_path, dark):
    shot = tmp_path / "shot.png"
    how = ["--blink-settings=preferredColorScheme=0"] if dark else []
    browse(report.write(run), f"--screenshot={shot}", "--window-size=1200,1600", *how)
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert len(np.unique(pixels)) > 50  # text, curves and bars: not one flat colour
    assert (pixels.mean() < 100) == dark


# reports what a reader of this width would notice, and how the table is sorted after two clicks
LAYOUT = """<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  const page = document.documentElement, found = [];
  if (page.scrollWidth > page.clientWidth) found.push(`scrolls to ${page.scrollWidth}`);
  for (const figure of document.querySelectorAll("figure.chart")) {
    const box = figure.getBoundingClientRect();
    for (const part of figure.querySelectorAll("figcaption b, .legend li, svg text")) {
      const inner = part.getBoundingClientRect();
      const clipped = inner.left < box.left - 1 || inner.right > box.right + 1;
      if (clipped || part.scrollWidth > part.clientWidth + 1) found.push(part.textContent);
    }
  }
  const table = document.querySelector("table.sortable");
  const seeds = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const orders = [0, 1].map(() => { table.querySelector("th button").click(); return seeds(); });
  const firsts = orders.map((order) => order.slice(0, 3));
  const message = JSON.stringify({ width: page.clientWidth, found, orders: firsts });
  parent === window ? (document.title = message) : parent.postMessage(message, "*");
});
</script></body>"""
FRAME = """<title></title><body style="margin:0"><script>
addEventListener("message", (event) => { document.title = event.data; });
</script><iframe src="probed.html" style="border:0;width:390px;height:4000px"></iframe>"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_chromium_clips_no_legend_and_scrolls_no_page(run, browse, tmp_path, width):
    with store(run, "train/metrics.jsonl").open("a") as stream:
        for number in range(12):
            name = f"val/a_metric_with_quite_a_long_name_{number}" + "x" * 40 * (number == 3)
            stream.write(json.dumps({"step": 8000, name: float(number)}) + "\n")
    text = page(run).replace("default-src 'none'", "default-src 'unsafe-inline'")
    text = re.sub("script-src '[^']*'", "script-src 'unsafe-inline'", text)
    (tmp_path / "probed.html").write_text(text.replace("</body>", LAYOUT), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME, encoding="utf-8")
    shown = tmp_path / ("frame.html" if width == 390 else "probed.html")
    dom = browse(shown, f"--window-size={width},900", "--virtual-time-budget=9000", "--dump-dom")
    found = json.loads(html.unescape(re.search("<title>(.*?)</title>", dom)[1]))
    assert found == {
        "width": width,
        "found": [],
        "orders": [["0", "1", "2"], ["29", "28", "27"]],
    }
