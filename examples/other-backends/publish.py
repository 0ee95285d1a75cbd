#!/usr/bin/env python3
"""Publishes an update and prints its id, with Python's standard library: publish.py TOPIC DATA"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

HUB_URL = os.environ.get("HUB_URL", "http://localhost:3000/hub")
TRIES = 6


class Refused(Exception):
    """The hub does not publish this, however often it is asked."""


def publish(topic, data, key):
    """Publishes once, also where the answer is lost, and returns the id of the update."""
    request = urllib.request.Request(
        HUB_URL,
        urllib.parse.urlencode({"topic": topic, "data": data}).encode(),
        {
            "Authorization": "Bearer " + token(topic, key),
            # The same for each try: the hub publishes once, however often it is asked.
            "Idempotency-Key": str(uuid.uuid4()),
        },
    )
    for attempt in range(TRIES):
        wait = 0.25 * 2**attempt
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            reason = f"The hub answered {error.code}: {error.read().decode()}"
            if error.code < 500 and error.code not in (408, 429):
                raise Refused(reason) from None
            wait = max(wait, seconds(error.headers.get("Retry-After")))
        except (OSError, http.client.HTTPException) as error:
            reason = f"The hub cannot be reached: {error}"
        if attempt < TRIES - 1:
            time.sleep(wait)
    raise Refused(reason)


def token(topic, key):
    """A JSON Web Token, signed with HS256: for this topic, and for five minutes."""
    head = {"alg": "HS256", "typ": "JWT"}
    claims = {"mercure": {"publish": [topic]}, "exp": int(time.time()) + 300}
    parts = [base64url(json.dumps(part).encode()) for part in (head, claims)]
    signature = hmac.new(key.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, base64url(signature)])


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def seconds(retry_after):
    return min(60, int(retry_after)) if retry_after and retry_after.isdigit() else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: JWT_KEY=… publish.py TOPIC DATA")
    if not os.environ.get("JWT_KEY"):
        sys.exit("There is no key to sign with: set JWT_KEY as for the hub.")
    try:
        print(publish(sys.argv[1], sys.argv[2], os.environ["JWT_KEY"]))
    except Refused as error:
        sys.exit(str(error))
