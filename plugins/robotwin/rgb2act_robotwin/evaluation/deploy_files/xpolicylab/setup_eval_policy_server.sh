#!/bin/bash
# Written by rgb2act deploy-robotwin for the run @RUN@: serves its policy to XPolicyLab's clients.
# BENCH TASK CKPT ENV_CFG ACTION_TYPE SEED GPU POLICY_ENV PORT [HOST [more arguments of serve-xpolicylab]]
# BENCH, TASK, CKPT, ENV_CFG, SEED and POLICY_ENV are ignored: the policy has its own interpreter.
set -euo pipefail

action_type=${5:?usage: bash setup_eval_policy_server.sh BENCH TASK CKPT ENV_CFG ACTION_TYPE SEED GPU POLICY_ENV PORT [HOST]}
export CUDA_VISIBLE_DEVICES=${7:-0}
port=${9:?PORT is missing}
host=${10:-localhost}
shift $(($# < 10 ? $# : 10))

case "$action_type" in
    joint | qpos) ;;
    *) echo "ACTION_TYPE $action_type: the policy outputs joint targets; use joint" >&2; exit 2 ;;
esac
case "$host" in
    localhost | 127.*) unset RGB2ACT_TOKEN ;;  # RoboTwin's client has no access token
esac
unset PYTHONPATH
exec @PYTHON@ -m rgb2act_core serve-xpolicylab @FOLDER@ --host "$host" --port "$port" "$@"
