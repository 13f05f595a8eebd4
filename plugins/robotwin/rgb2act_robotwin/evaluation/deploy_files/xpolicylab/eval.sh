#!/bin/bash
# Written by rgb2act deploy-robotwin for the run @RUN@: starts its policy server and RoboTwin's evaluation.
# BENCH TASK CKPT ENV_CFG ACTION_TYPE SEED POLICY_GPU ENV_GPU POLICY_ENV EVAL_ENV [more arguments of RoboTwin]
set -euo pipefail
unset CDPATH

eval_env=${10:?usage: bash eval.sh BENCH TASK CKPT ENV_CFG ACTION_TYPE SEED POLICY_GPU ENV_GPU POLICY_ENV EVAL_ENV}
case=("${@:1:6}") policy_gpu=$7 env_gpu=$8 policy_env=$9
info="ckpt_name=$3,action_type=$5"
shift 10
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

. "$here/start_server.sh"
start_server bash "$here/setup_eval_policy_server.sh" "${case[@]}" "$policy_gpu" "$policy_env" \
    0 localhost --batch 1
bash "$here/setup_eval_env_client.sh" "${case[@]}" "$env_gpu" "$eval_env" "$info" "$port" \
    localhost ws "$@"
