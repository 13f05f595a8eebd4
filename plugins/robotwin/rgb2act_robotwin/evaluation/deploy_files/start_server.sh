# Written by rgb2act deploy-robotwin for the run @RUN@; eval.sh sources it.
# start_server COMMAND...: start a server that stops with this shell; set port when it listens.
start_server() {
    output=$(mktemp)
    "$@" --json >"$output" &
    server=$!
    trap 'kill $server 2>/dev/null || :; wait $server 2>/dev/null || :; rm -f "$output"' EXIT
    until [ -s "$output" ]; do
        kill -0 $server 2>/dev/null || { echo "the policy server did not start" >&2; exit 1; }
        sleep 0.2
    done
    port=$(sed -n 's/.*"port": \([0-9]*\).*/\1/p' "$output")
}
