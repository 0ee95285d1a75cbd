#!/bin/bash
# The container's health check: exits with 0 if the service answers on its own port that it can serve, else with 1, and
# prints what it says. The shell alone does it: to start Node takes a hundred times as much (0.2 s of CPU, and this 2 ms), every ten seconds.
host=${HOST:-127.0.0.1}
case $host in '0.0.0.0' | '::') host=127.0.0.1 ;; esac

exec 3<>"/dev/tcp/$host/${PORT:-3000}" || exit 1
printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
# More than the service takes to find out, less than the check may take.
read -r -t 4 _ status _ <&3
[[ $status == 200 ]] && exit 0

# The body is the last line, without a line break.
while read -r -t 4 line <&3; do :; done
echo "${line:-The service has not answered.}"
exit 1
