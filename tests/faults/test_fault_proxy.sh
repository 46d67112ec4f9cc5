#!/bin/bash
# tests/faults/test_fault_proxy.sh - the proxy does what the rows of the table of faults rely on.
#
# Redis stands behind it; redis-cli and short programs are its clients.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin test_fault_proxy
need_programs redis-server redis-cli python3
build_tools
start_redis
start_proxy tcp 127.0.0.1:0 "unix:$folder/redis.sock"
port=$(sed -n '1s/.*://p' "$folder/tcp.log")
start_proxy unix "unix:$folder/proxy.sock" "unix:$folder/redis.sock"

through() { timeout 20 redis-cli -p "$port" "$@"; }
stat() { fault tcp stats | sed -n "s/.*$1 \([0-9]*\).*/\1/p"; }
since() { echo $((($(date +%s%N) - began) / 1000000)); }
begin() { began=$(date +%s%N); }

[ "$(through SET k v)" = OK ] && [ "$(redis-cli -s "$folder/proxy.sock" GET k)" = v ]
check 'what is not disturbed passes, by TCP and by a unix socket'

head -c 3000000 /dev/urandom | base64 -w 0 >"$folder/large"
through -x SET large <"$folder/large" >/dev/null
fault tcp slice 30000 >/dev/null
through GET large | tr -d '\n' | cmp -s - "$folder/large"
check 'four megabytes come through whole, in slices'

fault tcp heal >/dev/null
fault tcp latency 300 >/dev/null
begin
through PING >/dev/null
[ "$(since)" -ge 600 ]
check 'latency is that of both ways'

fault tcp heal >/dev/null
fault tcp bandwidth 8000000 >/dev/null
begin
through GET large >/dev/null
[ "$(since)" -ge 400 ]
check 'bandwidth is bounded'

fault tcp heal >/dev/null
fault tcp lost >/dev/null
through INCR lost_reply >"$folder/out" 2>&1
! grep -qx '1' "$folder/out" && [ "$(redis GET lost_reply)" -ge 1 ] && [ "$(stat lost)" = 1 ]
check 'a lost reply: the server has done it, the client does not hear of it'

fault tcp cut down >/dev/null
timeout 1 redis-cli -p "$port" INCR cut >/dev/null 2>&1
[ "$?" = 124 ]
check 'cut: nothing comes, and nothing ends'
fault tcp heal >/dev/null
[ "$(through PING)" = PONG ]
check '... and heal mends it'

# A client that keeps its connection and orders its own misfortune: what it sees.
cat >"$folder/hold.py" <<'PY'
import socket, subprocess, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"PING\r\n")
assert s.recv(64) == b"+PONG\r\n"
subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
try:
    s.sendall(b"ECHO 0123456789\r\n")
    while True:
        got = len(s.recv(64))
        print(got if got else "end")
        if not got:
            break
except ConnectionError:
    print("reset")
PY
hold() { # COMMAND...: sets seen
    seen=$(timeout 20 python3 "$folder/hold.py" "$port" "$bin/fault_proxy" tell "$folder/tcp.control" "$@" 2>&1 | xargs)
}
hold reset
[ "$seen" = reset ]
check 'reset is a reset'
hold reset down 5
[ "$seen" = '5 reset' ]
check 'reset after some bytes: those come, and then the reset'

fault tcp flip down 0 >/dev/null
[ "$(through ECHO 0123456789)" != 0123456789 ] && [ "$(through ECHO 0123456789)" = 0123456789 ]
check 'one bit is flipped, once'

fault tcp upstream "unix:$folder/nobody" >/dev/null
! through PING 2>/dev/null | grep -q PONG
check 'an upstream that is not there: the client is refused'
fault tcp upstream "unix:$folder/redis.sock" >/dev/null
fault tcp refuse >/dev/null
! through PING 2>/dev/null | grep -q PONG
check 'refuse: nobody comes in'
fault tcp heal >/dev/null
! fault tcp nonsense >/dev/null && ! fault tcp latency fast >/dev/null && [ "$(through PING)" = PONG ]
check 'what is no command is refused'

printf '+OK\r\n-LOADING it loads\r\n' >"$folder/answer"
"$bin/fault_proxy" answer 127.0.0.1:0 "$folder/answer" "$folder/fake.control" >"$folder/fake.log" &
wait_for 60 test -s "$folder/fake.log"
[ "$(redis-cli -p "$(sed -n '1s/.*://p' "$folder/fake.log")" PING)" = OK ]
check 'a fake server answers with its file'

end_with_counts
