#!/bin/sh
# Publishes an update and prints its id, with curl: publish.sh TOPIC DATA
set -eu

if [ $# -ne 2 ]; then
  echo 'Usage: TOKEN=… publish.sh TOPIC DATA' >&2
  exit 2
fi
: "${HUB_URL:=http://localhost:3000/hub}"
: "${TOKEN:?There is no token to publish with. Make one with npm run token}"

# The same for each try: the hub publishes once, however often it is asked.
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The token comes on standard input: what stands in the command is seen by all users of the machine.
status=$(
  printf 'Authorization: Bearer %s\n' "$TOKEN" |
    curl --silent --show-error --header @- \
      --header "Idempotency-Key: $key" \
      --data-urlencode "topic=$1" --data-urlencode "data=$2" \
      --max-time 10 --retry 5 --retry-all-errors --retry-max-time 60 \
      --output "$answer" --write-out '%{http_code}' "$HUB_URL"
)
if [ "$status" != 200 ]; then
  echo "The hub answered $status: $(cat "$answer")" >&2
  exit 1
fi
echo "$(cat "$answer")"
