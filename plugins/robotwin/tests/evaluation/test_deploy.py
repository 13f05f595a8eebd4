"""The deployed folders, run like RoboTwin runs them, with numpy, msgpack and Pillow only."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import edited_records
import numpy as np
import pytest
import rgb2act_process
import robotwin_servers
from rgb2act_robotwin.evaluation import deploy

from rgb2act_core import UserError, open_run

pytestmark = pytest.mark.slow

# what script/eval_policy.py does with a policy folder, around a simulator that shows a recording
LOOP = """
import sys
bare, root, frames, out = sys.argv[1:5]
sys.path[:] = [p for p in sys.path if "site-packages" not in p and p not in ("", root)]
sys.path += [bare, root + "/policy"]
import importlib
import numpy as np

class Env:
    take_action_cnt, step_lim, eval_success = 0, 10, False

    def __init__(self, wins_at):
        self.wins_at, self.shown, self.actions = wins_at, [], []
        self.recorded = np.load(frames)

    def get_obs(self):
        at = self.take_action_cnt % len(self.recorded["joints"])
        self.shown.append(self.take_action_cnt)
        head, left = self.recorded["rgb"][at]
        return {
            "observation": {"head_camera": {"rgb": head}, "left_camera": {"rgb": left}},
            "joint_action": {"vector": self.recorded["joints"][at].astype(np.float64)},
        }

    def take_action(self, action, action_type="qpos"):
        assert self.shown[-1] == self.take_action_cnt, "acts on what it has not seen"
        assert action.shape == (14,)
        self.take_action_cnt += 1
        self.actions.append(action)
        self.eval_success = self.take_action_cnt == self.wins_at

args = {"policy_name": "RGB2ACT", "seed": 0, "left_arm_dim": 6, "right_arm_dim": 6}
args |= dict(pair.split("=", 1) for pair in sys.argv[5:])
policy = importlib.import_module("RGB2ACT")
model = getattr(policy, "get_model")(args)
evaluate, reset = getattr(policy, "eval"), getattr(policy, "reset_model")
found = {}
for episode, wins_at in enumerate((None, 5)):
    env = Env(wins_at)
    reset(model)
    while env.take_action_cnt < env.step_lim:
        observation = env.get_obs()
        evaluate(env, model, observation)
        if env.eval_success:
            break
    found[f"actions{episode}"] = np.array(env.actions)
    found[f"shown{episode}"] = np.array(env.shown)
assert not {"torch", "rgb2act_core", "attrs"} & set(sys.modules)
assert importlib.util.find_spec("torch") is None
np.savez(out, **found)
"""


@pytest.fixture
def robotwin(tmp_path: Path) -> Path:
    """Return a folder that looks like a checkout of RoboTwin's older tree."""
    root = tmp_path / "RoboTwin"
    for name in ("script", "policy"):
        (root / name).mkdir(parents=True)
    (root / "script/eval_policy.py").touch()
    return root


def rgb2act(*args: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = rgb2act_process.run(args)
    assert done.returncode == code, done.stderr
    return done


def bare_python(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run code without site-packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def loop(bare: Path, root: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return bare_python(LOOP, bare, root, root / "frames.npz", root / "out.npz", *args)


def test_robotwins_loop_executes_the_actions_of_evaluation(
    run: Path, bare: Path, robotwin: Path
) -> None:
    recorded = robotwin_servers.Recorded()
    np.savez(robotwin / "frames.npz", rgb=recorded.rgb, joints=recorded.joints)
    done = rgb2act("deploy-robotwin", run, "--into", robotwin)
    assert done.stderr == ""  # every step is observed
    assert done.stdout.startswith(
        f"{robotwin}/policy/RGB2ACT\nthe policy uses head_camera, left_camera"
    )
    with robotwin_servers.serving("serve", run) as where:
        done = loop(bare, robotwin, f"server=127.0.0.1:{where['port']}")
        assert done.returncode == 0, done.stderr
    found = np.load(robotwin / "out.npz")
    for episode, steps in enumerate((10, 5)):
        # every step is observed once, the three of a chunk before the next chunk
        groups = [[0], [1, 2, 3], [4, 5, 6], [7, 8, 9]][: -(-steps // 3)]
        groups = [[at % 4 for at in group] for group in groups]
        expected = robotwin_servers.planned(run, recorded, 100_000 + episode, groups)
        np.testing.assert_array_equal(found[f"actions{episode}"], expected.reshape(-1, 14)[:steps])
        assert found[f"shown{episode}"].tolist() == list(range(steps))
    assert not np.array_equal(found["actions0"][:5], found["actions1"])  # another seed


def test_an_incompatible_server_or_robot_is_an_error(run: Path, bare: Path, robotwin: Path) -> None:
    recorded = robotwin_servers.Recorded()
    rgb2act("deploy-robotwin", run, "--into", robotwin)
    done = loop(bare, robotwin)
    assert "there is no policy server; start one with rgb2act serve RUN" in done.stderr
    np.savez(robotwin / "frames.npz", rgb=recorded.rgb[:, :, ::2], joints=recorded.joints)
    with robotwin_servers.serving("serve", run) as where:
        server = f"server=127.0.0.1:{where['port']}"
        done = loop(bare, robotwin, server)
        assert "images are of 2 cameras at 120x320; send uint8 RGB images of 2" in done.stderr
        done = loop(bare, robotwin, server, "left_arm_dim=7")
        assert "deploy a run of RoboTwin with arms of six joints" in done.stderr


EVAL = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ["RGB2ACT_SERVER"]]))
sys.path.append("policy/RGB2ACT")
from rgb2act_client import Client
Client(os.environ["RGB2ACT_SERVER"]).close()
"""


NEWER = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ.get("RGB2ACT_SERVER")]))
named = dict(zip(sys.argv[1::2], sys.argv[2::2]))
from websockets.sync.client import connect
connect(f"ws://{named['--host']}:{named['--port']}", proxy=None).close()
"""


def newer(robotwin: Path, folder: str = "scripts") -> None:
    """Turn a checkout into one of the newer tree, whose script is in one of two folders."""
    (robotwin / "script/eval_policy.py").unlink()
    (robotwin / folder).mkdir(exist_ok=True)
    (robotwin / folder / "eval_policy_xpolicylab.py").write_text(NEWER)
    (robotwin / folder / "eval_policy.sh").write_text(
        f'cd "$(dirname "$0")/.." && python {folder}/eval_policy_xpolicylab.py "$@"'
    )


@pytest.mark.parametrize("tree", ["older", "scripts", "script"])
def test_eval_sh_starts_and_stops_a_server(run: Path, robotwin: Path, tree: str) -> None:
    if tree == "older":
        (robotwin / "script/eval_policy.py").write_text(EVAL)
    else:
        newer(robotwin, tree)
    rgb2act("deploy-robotwin", run, "--into", robotwin)
    done = subprocess.run(
        ["bash", robotwin / "policy/RGB2ACT/eval.sh", "lift_pot", "demo_clean", "best", "3", "0"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    args, server = json.loads(done.stdout.splitlines()[0])
    host, port = server.split(":")
    named = dict(itertools.pairwise(args))
    assert named["--task_name"] == "lift_pot"
    assert named["--policy_name"] == "RGB2ACT"
    assert named["--seed"] == "3"
    if tree == "older":
        assert args[:2] == ["--config", "policy/RGB2ACT/deploy_policy.yml"]
        assert named["--ckpt_setting"] == "best"
    else:
        assert (named["--host"], named["--port"]) == (host, port)
        assert named["--additional_info"] == "ckpt_name=best,action_type=joint"


def test_scripts_get_the_fallbacks_of_the_spec(
    run: Path, robotwin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sourced = 'here=x; . "$1"; echo "$RGB2ACT_FALLBACKS $PYTHONPATH"'

    def output(code: int = 0) -> str:
        file = robotwin / "policy/RGB2ACT/fallbacks.sh"
        done = subprocess.run(
            ["bash", "-c", sourced, "-", file],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": "before"},
        )
        assert done.returncode == code, done.stderr
        return (done.stdout if code == 0 else done.stderr).strip()

    deploy.deploy(run, robotwin, "RGB2ACT", False)
    assert output() == "before"  # the run's spec has RoboTwin's own settings
    spec = open_run(run).spec
    choice = spec.environments[0]
    config = attrs.evolve(choice.config, shader="default", shadows=False)
    changed = SimpleNamespace(
        spec=attrs.evolve(spec, environment=attrs.evolve(choice, config=config))
    )
    monkeypatch.setattr(deploy, "open_run", lambda folder: changed)
    deploy.deploy(run, robotwin, "RGB2ACT", False)
    worker = deploy.WORKER
    expected = f'{{"shader": "default", "shadows": false}} {worker}/own_scripts:{worker}:before'
    assert output() == expected
    monkeypatch.setattr(deploy, "WORKER", tmp_path / "gone")
    deploy.deploy(run, robotwin, "RGB2ACT", False)
    assert output(2).startswith(f"{tmp_path}/gone: is missing; run deploy-robotwin on this machine")


CASE = ("RoboTwin", "lift_pot", "best", "aloha_agilex")


def lab_sh(
    robotwin: Path, script: str, *args: str, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of XPolicyLab's policy folder, on a machine without conda."""
    places = [robotwin / "bin", robotwin / "tmp"]
    for place in places:
        place.mkdir(exist_ok=True)
    conda = places[0] / "conda"
    conda.write_text("#!/bin/sh\nexit 127\n")
    conda.chmod(0o755)
    path = f"{places[0]}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", f"XPolicyLab/policy/RGB2ACT/{script}", *args],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ
        | {"PATH": path, "RGB2ACT_TOKEN": "word", "TMPDIR": str(places[1]), "CDPATH": "."}
        | {"TORCHINDUCTOR_CACHE_DIR": str(robotwin / "cache")}
        | more,
        cwd=robotwin,
    )
    assert not list(places[1].iterdir())
    return done


@pytest.mark.parametrize("tree", ["scripts", "script"])
def test_xpolicylabs_eval_sh_starts_a_server_and_robotwins_script(
    run: Path, robotwin: Path, tree: str
) -> None:
    newer(robotwin, tree)
    (robotwin / "XPolicyLab/policy").mkdir(parents=True)
    rgb2act("deploy-robotwin", run, "--into", robotwin)
    case = (*CASE, "joint", "3", "0", "1", "-", "-")
    done = lab_sh(robotwin, "eval.sh", *case, "--test_num", "2")
    assert done.returncode == 0, done.stderr
    args, _ = json.loads(done.stdout.splitlines()[0])
    named = dict(itertools.pairwise(args))
    assert named["--bench_name"] == "RoboTwin"
    assert named["--task_name"] == "lift_pot"
    assert named["--env_cfg_type"] == "aloha_agilex"
    assert named["--policy_name"] == "RGB2ACT"
    assert (named["--seed"], named["--device_id"]) == ("3", "1")
    assert named["--additional_info"] == "ckpt_name=best,action_type=joint"
    assert named["--root_dir"] == str(robotwin)
    assert named["--test_num"] == "2"


def test_eval_sh_has_the_exit_code_of_the_evaluation(run: Path, robotwin: Path) -> None:
    newer(robotwin)
    (robotwin / "scripts/eval_policy_xpolicylab.py").write_text("raise SystemExit(7)")
    (robotwin / "XPolicyLab/policy").mkdir(parents=True)
    rgb2act("deploy-robotwin", run, "--into", robotwin)
    case = (*CASE, "joint", "3", "0", "1", "-", "-")
    assert lab_sh(robotwin, "eval.sh", *case).returncode == 7


def test_xpolicylabs_scripts_reject_unsupported_arguments(run: Path, robotwin: Path) -> None:
    (robotwin / "XPolicyLab/policy").mkdir(parents=True)
    rgb2act("deploy-robotwin", run, "--into", robotwin)
    done = lab_sh(robotwin, "eval.sh", *CASE, "ee", "0", "0", "0", "-", "-")
    assert done.returncode == 1
    assert "ACTION_TYPE ee: the policy outputs joint targets; use joint" in done.stderr
    assert "the policy server did not start" in done.stderr
    client = (*CASE, "joint", "0", "0")
    done = lab_sh(robotwin, "setup_eval_env_client.sh", *client, "-", "", "8790")
    assert done.returncode == 2
    assert f"{robotwin}: has no scripts/eval_policy.sh" in done.stderr
    newer(robotwin)
    done = lab_sh(robotwin, "setup_eval_env_client.sh", *client, "simulator", "", "8790")
    assert done.returncode == 2
    assert "EVAL_ENV simulator: conda is not installed" in done.stderr
    done = lab_sh(
        robotwin, "setup_eval_env_client.sh", *client, "-", "", "8790", "localhost", "legacy_tcp"
    )
    assert (done.returncode, done.stderr) == (
        2,
        "PROTOCOL legacy_tcp: only ws is supported\n",
    )
    arguments = (*client, "-", "", "8790")
    done = lab_sh(robotwin, "setup_eval_env_client.sh", *arguments, EVAL_ENV_TYPE="debug")
    assert (done.returncode, done.stderr) == (2, "EVAL_ENV_TYPE debug: only sim is supported\n")
    done = lab_sh(robotwin, "setup_eval_policy_server.sh", *CASE)
    assert "usage: bash setup_eval_policy_server.sh BENCH TASK" in done.stderr


def test_changed_files_are_not_overwritten(run: Path, robotwin: Path) -> None:
    deploy = ("deploy-robotwin", run, "--into", robotwin)
    rgb2act(*deploy)
    rgb2act(*deploy)  # unchanged files may be overwritten
    mine = robotwin / "policy/RGB2ACT/deploy_policy.py"
    mine.write_text("# changed by hand\n")
    (robotwin / "policy/RGB2ACT/notes.txt").write_text("kept")
    refused = rgb2act(*deploy, code=2).stderr
    assert refused == (
        f"{mine}: was changed or not written by rgb2act; move it, or give --name or --force\n"
    )
    assert mine.read_text() == "# changed by hand\n"
    rgb2act(*deploy, "--name", "another")
    rgb2act(*deploy, "--force")
    assert "get_model" in mine.read_text()
    assert (robotwin / "policy/RGB2ACT/notes.txt").read_text() == "kept"


def test_an_undeployable_run_is_an_error(run: Path, robotwin: Path, tmp_path: Path) -> None:
    from rgb2act_robotwin.evaluation.deploy import deploy

    with pytest.raises(UserError, match="is not a checkout of RoboTwin, which has script/eval"):
        deploy(run, tmp_path, "RGB2ACT", False)
    with pytest.raises(UserError, match="--name 'my-policy': is not a Python identifier"):
        deploy(run, robotwin, "my-policy", False)
    other = Path(shutil.copytree(run.parents[1], tmp_path / "runs")) / "deployed/1"
    (policy,) = (tmp_path / "runs").rglob("policy.json")
    edited_records.replace(policy, "left_joint1", "left_elbow")
    with pytest.raises(UserError, match=r"has actions left_elbow, .* deploy a run of RoboTwin"):
        deploy(other, robotwin, "RGB2ACT", False)
    assert not list((robotwin / "policy").iterdir())


NAMED = """
import importlib, sys
bare, root, server = sys.argv[1:]
sys.path[:] = [p for p in sys.path if "site-packages" not in p and p != ""]
sys.path += [bare, root, root + "/policy"]
from XPolicyLab.policy.RGB2ACT.model import Model
args = {"server": server, "seed": 0}
older = importlib.import_module("RGB2ACT")
older.reset_model(older.get_model({**args, "task_name": "lift_pot"}))
Model({**args, "task_name": "open_laptop"}).reset()
model = Model({**args, "task_name": None})
model.prepare_case({"seed": 3, "task_name": "lift_pot"})
model.reset()
for named in ({"task_name": "turn_switch"}, {}):
    try:
        older.reset_model(older.get_model({**args, **named}))
    except importlib.import_module("rgb2act_client").ServerError as err:
        print(err)
"""


@pytest.fixture
def of_two_tasks(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[Any]]]:
    """Yield the address of a server with a two-task policy, and the arguments of its resets."""
    from rgb2act_core.serving import Server, Session, listen, load_server

    offer, sessions = load_server(run)
    tasks, named = ("lift_pot", "open_laptop"), []
    sessions.planner.policy.config = attrs.evolve(sessions.planner.policy.config, tasks=tasks)
    reset = Session.reset

    def noted(self: Session, seed: int, task: str | None = None) -> None:
        reset(self, seed, task)
        named.append((seed, task))

    monkeypatch.setattr(Session, "reset", noted)
    listener = listen("127.0.0.1", 0)
    server = Server(listener, attrs.evolve(offer, tasks=tasks), sessions, None)

    def accept() -> None:
        with contextlib.suppress(OSError):
            server.run()

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}", named
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    server.close()


def test_both_adapters_send_the_task_to_a_multi_task_policy(
    run: Path, bare: Path, robotwin: Path, of_two_tasks: tuple[str, list[Any]]
) -> None:
    (robotwin / "XPolicyLab/policy").mkdir(parents=True)
    rgb2act("deploy-robotwin", run, "--into", robotwin)
    address, named = of_two_tasks
    done = bare_python(NAMED, bare, robotwin, address)
    assert done.returncode == 0, done.stderr
    assert named == [
        (100_000, "lift_pot"),
        (100_000, "open_laptop"),  # at once, and by reset
        (100_001, "open_laptop"),
        (3, "lift_pot"),
    ]
    unknown, missing = done.stdout.splitlines()
    assert "'turn_switch'" in unknown
    assert "lift_pot" in missing
    assert "open_laptop" in missing


ADAPTER = """
import sys
bare, root, frames, out, server = sys.argv[1:6]
sys.path[:] = [p for p in sys.path if "site-packages" not in p and p != ""] + [bare, root]
import numpy as np
from XPolicyLab.policy.RGB2ACT.model import Model

recorded = np.load(frames)
def observation(at, env_idx):
    head, left = recorded["rgb"][at % 4]
    joints = np.float32(recorded["joints"][at % 4])
    return {
        "env_idx": env_idx,
        "vision": {"cam_head": {"color": head}, "cam_left_wrist": {"color": left}},
        "state": {
            "left_arm_joint_state": joints[:6], "left_ee_joint_state": joints[6:7],
            "right_arm_joint_state": joints[7:13], "right_ee_joint_state": joints[13:],
        },
    }
def flat(chunk):
    keys = ("left_arm_joint_state", "left_ee_joint_state")
    keys += ("right_arm_joint_state", "right_ee_joint_state")
    return [np.concatenate([action[key] for key in keys]) for action in chunk]

model = Model({"server": server, "seed": 0, "action_type": "joint"})
model.prepare_case({"seed": 100007, "task_name": "x"})
model.reset()
single = []
for group in ([0], [1, 2, 3]):
    for at in group:
        model.update_obs(observation(at, 0))
    single += flat(model.get_action())
trial = model.on_trial_end({"success": True})
model.prepare_case({"seed": 100007})
model.reset()
batch = []
for group in ([0], [3]):
    for at in group:
        model.update_obs_batch([observation(at, 0), observation(at + 1, 5)])
    batch.append([flat(chunk) for chunk in model.get_action_batch([0, 5])])
missing = model.on_trial_end({})
assert not {"torch", "rgb2act_core"} & set(sys.modules)
np.savez(out, single=single, batch=batch)
print(trial, missing)
"""


def test_the_adapter_of_the_newer_tree_acts_as_in_evaluation(
    run: Path, bare: Path, robotwin: Path
) -> None:
    recorded = robotwin_servers.Recorded()
    np.savez(robotwin / "frames.npz", rgb=recorded.rgb, joints=recorded.joints)
    (robotwin / "XPolicyLab/policy").mkdir(parents=True)
    done = rgb2act("deploy-robotwin", run, "--into", robotwin)
    assert f"{robotwin}/XPolicyLab/policy/RGB2ACT\n" in done.stdout
    assert done.stderr.startswith(
        "warning: deployed: learned from 2 frames with history_stride = 1"
    )
    with robotwin_servers.serving("serve", run) as where:
        address = f"127.0.0.1:{where['port']}"
        files = (robotwin / "frames.npz", robotwin / "out.npz")
        done = bare_python(ADAPTER, bare, robotwin, *files, address)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'missing_steps': 0} {'missing_steps': 2}"
    assert "2 steps of the episode were not observed" in done.stdout
    found = np.load(robotwin / "out.npz")
    expected = robotwin_servers.planned(run, recorded, 100_007, [[0], [1, 2, 3]])
    np.testing.assert_array_equal(found["single"], expected.reshape(-1, 14))
    for number, groups in enumerate(([[0], [3]], [[1], [0]])):
        expected = robotwin_servers.planned(run, recorded, 100_007, groups)
        np.testing.assert_array_equal(found["batch"][:, number], expected)
