#!/bin/sh
# Starts, stops and looks after the server of `make up`: detached, with its
# process id and log in the state directory. Again is fine.
set -eu

action=$1 binary=$2 data=$3 listen=$4
pid_file=$data/up.pid
log=$data/up.log

# The process whose id is in the file, if it is still that program.
running() {
    [ -f "$pid_file" ] || return 1
    pid=$(cat "$pid_file")
    kill -0 "$pid" 2>/dev/null || return 1
    case $(readlink "/proc/$pid/exe" 2>/dev/null || true) in
    */fleetfoot | */fleetfoot' (deleted)') return 0 ;;
    *) return 1 ;;
    esac
}

next() {
    if [ "$(cat "$data/address")" != "http://127.0.0.1:7878" ]; then
        echo "  next         FLEETFOOT_URL=$(cat "$data/address") ./$binary submit examples/hello.yml --watch"
    else
        echo "  next         ./$binary submit examples/hello.yml --watch"
    fi
}

case $action in
start)
    if running; then
        echo "Fleetfoot is already running at $(cat "$data/address") (process $pid)"
        next
        exit 0
    fi
    mkdir -p -m 700 "$data"
    first=yes
    [ -f "$data/admin.token" ] && first=no
    # A session of its own: it outlives this terminal. The output may hold the token: mine alone.
    umask 077
    setsid "$binary" up --data "$data" --listen "$listen" --output json >"$data/up.json" 2>>"$log" </dev/null &
    pid=$!
    echo "$pid" >"$pid_file"
    tries=0
    until [ -s "$data/up.json" ]; do
        if ! kill -0 "$pid" 2>/dev/null || [ "$tries" -ge 300 ]; then
            rm -f "$pid_file"
            echo "error: Fleetfoot did not start; the end of $log:" >&2
            tail -n 20 "$log" >&2
            exit 1
        fi
        tries=$((tries + 1))
        sleep 0.1
    done
    # It holds the token, which has its own file.
    rm -f "$data/up.json"
    echo "Fleetfoot is listening on $(cat "$data/address")"
    echo "  dashboard    $(cat "$data/address")/ui/ (sign in with the token of $data/admin.token)"
    echo "  state        $data (log: up.log; stop with \`make down\`)"
    if [ "$first" = yes ]; then
        echo "  admin token  $(cat "$data/admin.token")"
        echo "               shown once; commands on this machine find it by themselves"
    fi
    echo "  runner       takes jobs for self-hosted, linux, ubuntu-latest, ubuntu-24.04, ubuntu-22.04"
    next
    ;;
stop)
    if ! running; then
        echo "Fleetfoot is not running"
        rm -f "$pid_file"
        exit 0
    fi
    kill -TERM "$pid"
    tries=0
    while kill -0 "$pid" 2>/dev/null; do
        if [ "$tries" -ge 600 ]; then
            echo "error: process $pid is still running after a minute" >&2
            exit 1
        fi
        tries=$((tries + 1))
        sleep 0.1
    done
    rm -f "$pid_file"
    echo "Fleetfoot has stopped"
    ;;
status)
    if running; then
        echo "Fleetfoot is running at $(cat "$data/address") (process $pid)"
    else
        echo "Fleetfoot is not running"
        exit 1
    fi
    ;;
esac
