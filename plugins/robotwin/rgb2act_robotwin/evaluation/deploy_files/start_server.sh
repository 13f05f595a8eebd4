# Written by rgb2act deploy-robotwin for the run @RUN@; eval.sh reads it.
# start_server COMMAND...: serves until this shell ends; sets port once the server listens.
start_server() {
    told=$(mktemp)
    "$@" --json >"$told" &
    server=$!
    trap 'kill $server 2>/dev/null || :; wait $server 2>/dev/null || :; rm -f "$told"' EXIT
    until [ -s "$told" ]; do
        kill -0 $server 2>/dev/null || { echo "the policy server did not start" >&2; exit 1; }
        sleep 0.2
    done
    port=$(sed -n 's/.*"port": \([0-9]*\).*/\1/p' "$told")
}
