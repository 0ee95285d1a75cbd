<?php
// Publishes an update and prints its id, with PHP's standard library: php publish.php TOPIC DATA

const TRIES = 6;

/** The hub does not publish this, however often it is asked. */
class Refused extends Exception
{
}

/** Publishes once, also where the answer is lost, and returns the id of the update. */
function publish(string $topic, string $data, string $key): string
{
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => [
            'Content-Type: application/x-www-form-urlencoded',
            'Authorization: Bearer ' . token($topic, $key),
            // The same for each try: the hub publishes once, however often it is asked.
            'Idempotency-Key: ' . bin2hex(random_bytes(16)),
        ],
        'content' => http_build_query(['topic' => $topic, 'data' => $data]),
        'timeout' => 10,
        'ignore_errors' => true, // Answers other than 200 have something to say, too.
    ]]);
    for ($attempt = 0; $attempt < TRIES; $attempt++) {
        if ($attempt > 0) {
            usleep((int) ($wait * 1_000_000));
        }
        $wait = 0.25 * 2 ** $attempt;
        $answer = @fopen(getenv('HUB_URL') ?: 'http://localhost:3000/hub', 'r', false, $context);
        if ($answer === false) {
            $reason = 'The hub cannot be reached: ' . (error_get_last()['message'] ?? '');
            continue;
        }
        $head = implode("\n", stream_get_meta_data($answer)['wrapper_data']);
        $body = stream_get_contents($answer);
        $status = preg_match('/^HTTP\/\S+ (\d+)/', $head, $match) ? (int) $match[1] : 0;
        if ($status === 200 && $body !== '') {
            return $body;
        }
        $reason = "The hub answered $status: $body";
        if ($status >= 300 && $status < 500 && $status !== 408 && $status !== 429) {
            break;
        }
        if (preg_match('/^Retry-After: *(\d+)/mi', $head, $match)) {
            $wait = max($wait, min(60, (int) $match[1]));
        }
    }
    throw new Refused($reason);
}

/** A JSON Web Token, signed with HS256: for this topic, and for five minutes. */
function token(string $topic, string $key): string
{
    $claims = ['mercure' => ['publish' => [$topic]], 'exp' => time() + 300];
    $parts = array_map(
        fn ($part) => base64url(json_encode($part, JSON_THROW_ON_ERROR)),
        [['alg' => 'HS256', 'typ' => 'JWT'], $claims],
    );
    $message = implode('.', $parts);
    return $message . '.' . base64url(hash_hmac('sha256', $message, $key, true));
}

function base64url(string $data): string
{
    return rtrim(strtr(base64_encode($data), '+/', '-_'), '=');
}

function fail(string $reason): never
{
    fwrite(STDERR, "$reason\n");
    exit(1);
}

if ($argc !== 3) {
    fail('Usage: JWT_KEY=… php publish.php TOPIC DATA');
}
if (!getenv('JWT_KEY')) {
    fail('There is no key to sign with: set JWT_KEY as for the hub.');
}
try {
    echo publish($argv[1], $argv[2], getenv('JWT_KEY')), "\n";
} catch (Refused $error) {
    fail($error->getMessage());
}
