#!/bin/sh
# Measure extraction and training on one GPU, in about ten minutes.
#
#     sh benchmarks/gpu.sh [FOLDER]
#
# Prints rates of extraction, steps per second of alignment and policy for each precision and for two
# GPUs if there are, and the calls with which a training step waits for the GPU. DEVICE=cpu and a small
# SPEC try the script without a GPU; BASE=PATH is a checkout of another version to compare with.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$(mktemp -d)}
device=${DEVICE:-cuda}
spec=${SPEC:-$here/examples/lift_distractors.toml}
python=${PYTHON:-python}
mkdir -p "$out"

train() { # NAME CHECKOUT OPTION...
    name=$1 checkout=$2
    shift 2
    echo "== $name"
    (cd "$checkout" && "$python" -m rgb2act_core train "$spec" --root "$out/runs" \
        --set "compute.device=\"$device\"" "$@") > "$out/$name.log" 2>&1 || cat "$out/$name.log"
    grep -E "^(extract|align|train).* in .*/s" "$out/$name.log" || true
}

train float32 "$here"
train tf32 "$here" --set 'align.precision="tf32"' --set 'policy.precision="tf32"'
train bfloat16 "$here" --set 'align.precision="bfloat16"' --set 'policy.precision="bfloat16"'
if [ -n "${BASE:-}" ]; then
    rm -rf "$out/runs/store/align" "$out/runs/store/policy"
    train base "$BASE"
fi
if [ "$("$python" -c 'import torch; print(torch.cuda.device_count())')" -gt 1 ]; then
    train two_devices "$here" --set compute.devices=2 --set seed=1
fi

echo "== calls that wait for the GPU"
(cd "$here" && "$python" benchmarks/count_waits.py "$spec" "$out/runs" "$device")

echo "logs: $out"
