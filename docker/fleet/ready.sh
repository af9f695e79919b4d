#!/bin/bash
# huker-ready PORT: whether the process that answers health requests there, in this container, is ready. Says what it said.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
answer=$(cat <&3)
echo "$answer"
[[ $answer == 'HTTP/1.'?' 200 '* ]]
